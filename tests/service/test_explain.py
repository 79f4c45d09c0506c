"""Shows that `explain` works a number out from the log, names its events, and finds a read model that is wrong."""

import json
from typing import Any

import pytest

from domain import ledger
from domain.recorder import Pool
from projections.building import set_aside
from projections.journeys.explanation import EXPLAINED
from service import cli
from tests.support.examples import WORKED_EXAMPLE_ANALYTICS, email_sent, parsed, worked_example
from tests.support.read_models import project_all

EXPLAIN = ("explain", "--workspace", "340", "--campaign", "123")


@pytest.fixture(autouse=True)
def _recorded(database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    with pool.connection() as database:
        ledger.record(database, 340, parsed(*worked_example(), email_sent(99, campaign_id=9)))
    project_all(pool)


def explained(capsys: pytest.CaptureFixture[str], *more: str) -> Any:
    """Return the JSON of the command, by metric."""
    assert cli.main([*EXPLAIN, "--json", *more]) == 0
    return {each["metric"]: each for each in json.loads(capsys.readouterr().out)["metrics"]}


def test_every_number_is_explained_from_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """The values are the dashboard's, and those of the contributions add up to them."""
    metrics = explained(capsys)
    assert list(metrics) == list(EXPLAINED)
    for metric, each in metrics.items():
        assert each["value"] == sum(part["value"] for part in each["contributions"])
        if metric != "average_reply_time" and metric in WORKED_EXAMPLE_ANALYTICS:
            assert each["value"] == WORKED_EXAMPLE_ANALYTICS[metric]
    assert metrics["average_reply_time"]["value"] == 2 * 48 * 3_600_000


def test_a_metric_of_a_prospect_is_printed_with_its_events(capsys: pytest.CaptureFixture[str]) -> None:
    """For people: each contribution on a line, with its instant, its value and the ids of the events."""
    assert cli.main([*EXPLAIN, "--metric", "average_reply_time", "--prospect", "b"]) == 0
    value, line = capsys.readouterr().out.splitlines()
    assert value == "average_reply_time: 345600000 ms in all turns"
    expected = ["2026-11-04T11:00:00.000Z", "172800000", "b"]
    assert line.split()[:3] == expected
    assert line.endswith("LinkedInMessageSent 123-8 at 9, ReplyReceived 123-9 at 10")


def test_a_difference_of_the_read_model_is_printed(pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    """The command exits 1, names the number, and prints the command that mends it."""
    with pool.connection() as database:
        database.execute("UPDATE campaign SET totals[2] = 7 WHERE campaign_id = 123")
    assert cli.main([*EXPLAIN, "--metric", "amount_of_emails_sent"]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("amount_of_emails_sent: 3\n")
    assert (
        shown.err == "amount_of_emails_sent: the read model says 7, the log 3; `replay --workspace 340` rebuilds it\n"
    )


def test_what_is_not_projected_yet_is_left_out(pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    """It explains what the dashboard shows; so does an event that is set aside not count."""
    with pool.connection() as database:
        position = ledger.record(database, 340, parsed(email_sent(100))).position
    assert explained(capsys, "--metric", "amount_of_emails_sent")["amount_of_emails_sent"]["value"] == 3
    with pool.connection() as database:
        database.execute("UPDATE stored_events SET topic = 'nobody:Knows' WHERE position = %s", (position,))
        set_aside.put(database, 340, position, reason="a test", by="cli:test")
    project_all(pool)
    assert explained(capsys, "--metric", "amount_of_emails_sent")["amount_of_emails_sent"]["value"] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("explain", "--workspace", "341", "--campaign", "1"), 1, "workspace 341 is not projected yet\n"),
        (("explain", "--workspace", "340", "--campaign", "1"), 1, "workspace 340 has no campaign 1\n"),
    ],
)
def test_a_missing_campaign_or_prospect_is_an_error(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    assert cli.main(arguments) == code
    assert capsys.readouterr().err == message


def test_an_unreadable_log_is_an_error(pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    with pool.connection() as database:
        database.execute("UPDATE stored_events SET topic = 'nobody:Knows' WHERE workspace_id = 340 AND position = 1")
    assert cli.main(EXPLAIN) == 1
    assert capsys.readouterr().err == "the log can't be read: unknown topic nobody:Knows\n"
