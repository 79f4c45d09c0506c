"""Shows that what a new version of the fold would change is seen before it is live, by campaign and metric."""

import pytest

from domain.recorder import Pool
from projections.building import comparison, generations
from projections.metrics import FOLD_VERSION, MEASURES
from tests.support.commands import Command
from tests.support.examples import email_sent, worked_example
from tests.support.read_models import ignore, live_rows, project_all, row_counts
from tests.support.stored_events import execute, record

OLDER = 99  # stands for a version of which these are the measures
NAMES = [measure.name for measure in MEASURES]
REPLIES, EMAILS, PROSPECTS = (
    NAMES.index(f"amount_of_{what}") + 1 for what in ("replies", "emails_sent", "prospects")
)  # PostgreSQL counts from 1


def made_by_another_version(pool: Pool, measures: list[str]) -> None:
    """Let all rows be those of another version, which sums these."""
    execute(pool, "INSERT INTO fold_version VALUES (%s, %s)", OLDER, measures)
    execute(pool, "UPDATE projection SET fold_version = %s", OLDER)


@pytest.fixture
def pool(pool: Pool) -> Pool:
    """Give a database with a projected workspace."""
    record(pool, 1, *worked_example(1), *worked_example(2))
    project_all(pool)
    return pool


def test_nothing_would_change(pool: Pool) -> None:
    """Whichever version has made the rows, and in whatever order it has stored the sums; nothing is left behind."""
    assert comparison.changes(pool, 1, ignore) == []
    made_by_another_version(pool, NAMES)
    with pool.connection() as database:
        before = live_rows(database, 1)
        assert comparison.changes(pool, 1, ignore) == []
        assert live_rows(database, 1) == before
    generations.sweep(pool)
    assert (row_counts(pool, "campaign"), row_counts(pool, "spare_generation")) == (2, 0)


def test_each_number_that_would_change_is_named(pool: Pool) -> None:
    """Also those that follow from it; a campaign may come or go."""
    made_by_another_version(pool, NAMES)
    execute(pool, f"UPDATE campaign SET totals[{REPLIES}] = 7, totals[{PROSPECTS}] = 1 WHERE campaign_id = 1")
    execute(pool, "UPDATE campaign SET name = 'X' WHERE campaign_id = 1")
    execute(pool, "UPDATE campaign SET campaign_id = 3 WHERE campaign_id = 2")
    assert comparison.changes(pool, 1, ignore) == [
        "workspace 1 campaign 1: name is X, would be None",
        "workspace 1 campaign 1: amount_of_prospects is 1, would be 2",
        "workspace 1 campaign 1: amount_of_replies is 7, would be 3",
        "workspace 1 campaign 2: is not shown, would be",
        "workspace 1 campaign 3: is shown, would not be",
    ]


def test_a_number_that_would_only_move_in_time_is_named(pool: Pool) -> None:
    """Such as one that is dated by another event."""
    made_by_another_version(pool, NAMES)
    first = "(SELECT min(day) FROM campaign_activity)"
    execute(pool, f"UPDATE campaign_activity SET day = day - 9 WHERE campaign_id = 1 AND day = {first}")
    changes = comparison.changes(pool, 1, ignore)
    assert "workspace 1 campaign 1: amount_of_prospects_contacted stays 3, but would move to or from 2 days" in changes
    assert all(line.endswith("would move to or from 2 days") for line in changes)
    assert not [line for line in changes if "replies" in line.replace("automatic_replies", "")]


def test_a_new_metric_is_no_change(pool: Pool) -> None:
    """Nor is one that only the other version knows."""
    first, *others = NAMES
    made_by_another_version(pool, [*others, "a_metric_of_the_past"])
    execute(pool, "UPDATE campaign SET totals = totals[2:] || 5::bigint")
    execute(pool, "DELETE FROM campaign_activity")  # the other version would have stored its sums at other places
    changes = comparison.changes(pool, 1, ignore)
    assert first == "amount_of_prospects"
    assert all(" stays " in line and first not in line.replace("amount_of_prospects_", "") for line in changes)


def test_a_comparison_reports_days_in_another_form_as_not_compared(pool: Pool) -> None:
    """The whole numbers are compared all the same."""
    made_by_another_version(pool, NAMES[:4])
    execute(pool, "UPDATE campaign SET totals = totals[:4]")
    execute(pool, f"UPDATE campaign SET totals[{EMAILS}] = 9 WHERE campaign_id = 1")
    assert comparison.changes(pool, 1, ignore) == [
        f"workspace 1: the days of version {OLDER} can't be read, so can't be compared",
        "workspace 1 campaign 1: amount_of_emails_sent is 9, would be 3",
    ]


@pytest.mark.processes
def test_the_command_prints_the_changes(pool: Pool, command: Command) -> None:
    """It exits 0 where nothing would change and 1 where something would; plain `--verify` compares no two versions."""
    assert command("replay", "--summary").code == 2
    assert command("replay", "--verify", "--summary").code == 0
    made_by_another_version(pool, NAMES)
    assert command("replay", "--verify", "--summary").code == 0
    code, out, _ = command("replay", "--verify")
    assert (code, out) == (1, f"workspace 1: its rows are of version {OLDER}, this is {FOLD_VERSION}\n")
    execute(pool, f"UPDATE campaign SET totals[{EMAILS}] = 9 WHERE campaign_id = 1")
    record(pool, 1, email_sent(7, campaign_id=2))  # is not projected, and so no difference
    code, out, _ = command("replay", "--verify", "--summary", "--workspace", "1")
    assert (code, out) == (1, "workspace 1 campaign 1: amount_of_emails_sent is 9, would be 3\n")
