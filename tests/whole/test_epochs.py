"""Shows that a log which went back in time is never answered by what is left of its lost past."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from falcon import testing
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from api.answers.explain import PAST
from domain import ledger
from domain.access import Access
from domain.recorder import Pool
from projections.building import comparison, epochs, rebuilding, replay, set_aside, verification
from projections.building.generations import SupersededError
from projections.building.projector import Projector
from projections.marks import WentBackError
from projections.metrics import FOLD_VERSION
from service import cli, database
from tests.support.databases import new_database, url_of
from tests.support.examples import api_key, email_sent, parsed
from tests.support.read_models import project_all
from tests.support.running import Answer, Service, serving, users_of
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
PATHS = (DASHBOARD, f"{DASHBOARD}summary/", f"{DASHBOARD}?format=csv", "/api/v1/campaigns/", "/api/v1/events/")
EXPLAIN = f"{DASHBOARD}123/explain/"
TABLES = (
    "log_head",
    "stored_events",
    "projection",
    "campaign",
    "campaign_activity",
    "journey",
    "spare_generation",
)
LOST = "The log went back, and its read models are being rebuilt, please try again"


@pytest.fixture
def status(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], Any]:
    """Give what asks the command `status` for all workspaces."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def ask() -> Any:
        assert cli.main(["status", "--json"]) == 0
        return json.loads(capsys.readouterr().out)["workspaces"]

    return ask


def record(pool: Pool, first: int, end: int, **fields: Any) -> None:
    """Append e-mails with these numbers to the log of workspace 340."""
    with pool.connection() as connection:
        ledger.record(connection, 340, parsed(*[email_sent(number, **fields) for number in range(first, end)]))


def cut(pool: Pool, head: int) -> None:
    """Let the log of workspace 340 end at a position, as if what came behind it had never been."""
    with pool.connection() as connection, connection.transaction():
        connection.execute("DELETE FROM stored_events WHERE workspace_id = 340 AND position > %s", (head,))
        connection.execute("UPDATE log_head SET head = %s WHERE workspace_id = 340", (head,))


@contextmanager
def backed_up(pool: Pool) -> Iterator[None]:
    """Copy all that is of workspaces, and put it back in the end: as a restore of the whole database does."""
    with pool.connection() as connection:
        for table in TABLES:
            connection.execute(
                sql.SQL("CREATE TABLE {} AS TABLE {}").format(sql.Identifier(f"{table}_backup"), sql.Identifier(table))
            )
    yield
    with pool.connection() as connection, connection.transaction():
        for table in TABLES:
            names = sql.Identifier(table), sql.Identifier(f"{table}_backup")
            connection.execute(sql.SQL("TRUNCATE {}").format(names[0]))
            connection.execute(sql.SQL("INSERT INTO {} TABLE {}").format(*names))


def get(client: testing.TestClient, key: dict[str, str], path: str = DASHBOARD, **params: Any) -> testing.Result:
    """Ask something of workspace 340."""
    path, _, query = path.partition("?")
    more = dict(each.split("=") for each in query.split("&") if each)
    return client.simulate_get(path, headers=key, params={"workspace_id": 340, **more, **params})


def emails(answer: testing.Result) -> dict[int, int]:
    """Return how many e-mails each campaign of an answer has sent."""
    assert answer.status_code == 200, answer.text
    return {each["id"]: each["analytics"]["amount_of_emails_sent"] for each in answer.json["campaigns"]}


def epoch_of(pool: Pool, workspace_id: int = 340) -> int:
    """Return the epoch of a log."""
    with pool.connection() as connection:
        query = "SELECT epoch FROM log_head WHERE workspace_id = %s"
        [(epoch,)] = connection.execute(query, (workspace_id,)).fetchall()
    return int(epoch)


def rebuild(pool: Pool) -> None:
    """Let what was noticed be rebuilt, as the projector's process does beside projecting."""
    epochs.notice(pool)

    class Once:
        """Stops once there is nothing left to be rebuilt."""

        def is_set(self) -> bool:
            return self.waited

        def wait(self, _: float) -> None:
            self.waited = True

        waited = False

    rebuilding.keep_current(pool, Once())  # type: ignore[arg-type]  # all of an event that is used


@pytest.mark.parametrize("path", PATHS)
def test_a_database_that_was_restored_as_a_whole_answers_with_its_own_past(
    client: testing.TestClient, pool: Pool, users: Access, path: str
) -> None:
    """Cached bodies, cached pieces and tags of the lost past are not used at the same position again."""
    key = api_key(users, 340)
    record(pool, 1, 6)
    project_all(pool)
    with backed_up(pool):
        record(pool, 6, 11, campaign_id=7)
        project_all(pool)
        lost = get(client, key, path)
        assert get(client, {**key, "If-None-Match": lost.headers["etag"]}, path).status_code == 304
    record(pool, 21, 26, campaign_id=8, type="InviteSent")
    project_all(pool)
    answer = get(client, {**key, "If-None-Match": lost.headers["etag"]}, path)
    assert answer.status_code == 200
    assert answer.text != lost.text
    assert answer.headers["etag"] != lost.headers["etag"]
    assert emails(get(client, key)) == {123: 5, 8: 0}
    assert get(client, {**key, "If-None-Match": answer.headers["etag"]}, path).status_code == 304


def test_the_same_event_sent_again_behind_others_is_another_past(
    client: testing.TestClient, pool: Pool, users: Access
) -> None:
    """A writer repeats what was lost: it comes to the same position, but not at the same time."""
    key = api_key(users, 340)
    record(pool, 1, 6)
    project_all(pool)
    with backed_up(pool):
        record(pool, 6, 7, campaign_id=7)
        record(pool, 7, 8)
        project_all(pool)
        lost = get(client, key)
        lost_page = get(client, key, "/api/v1/events/")
    record(pool, 6, 7, campaign_id=8)
    record(pool, 7, 8)
    project_all(pool)
    assert emails(get(client, {**key, "If-None-Match": lost.headers["etag"]})) == {123: 6, 8: 1}
    page = get(client, {**key, "If-None-Match": lost_page.headers["etag"]}, "/api/v1/events/")
    assert page.status_code == 200


def test_a_projection_ahead_of_its_log_is_no_answer_until_it_is_rebuilt(
    client: testing.TestClient,
    pool: Pool,
    users: Access,
    status: Callable[[], Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The log alone went back: 503 with Retry-After, `status` and a metric say so, and it is mended by itself."""
    key = api_key(users, 340, 341)
    record(pool, 1, 11)
    project_all(pool)
    lost, epoch = get(client, key), epoch_of(pool)
    cut(pool, 8)
    for path in (*PATHS[:-1], f"{EXPLAIN}?metric=amount_of_replies"):
        answer = get(client, {**key, "If-None-Match": lost.headers["etag"]}, path)
        assert (answer.status_code, answer.json) == (503, {"error": LOST}), path
        assert answer.headers["Retry-After"] == "1"
    assert get(client, key, workspace_id="ALL").status_code == 503
    assert get(client, key, workspace_id=341).status_code == 200

    [state] = status()
    assert (state["lost"], state["lag"], state["epoch"]) == (True, 0, str(epoch))
    assert client.simulate_get("/readyz").json["status"] == "degraded"
    assert "campaign_analytics_projection_lost 1.0" in client.simulate_get("/metrics").text

    rebuild(pool)
    assert emails(get(client, {**key, "If-None-Match": lost.headers["etag"]})) == {123: 8}
    assert get(client, key).headers["X-Position"] == "8"
    assert epoch_of(pool) != epoch
    [state] = status()
    assert (state["lost"], state["position"], state["epoch"]) == (False, 8, str(epoch_of(pool)))
    assert state["epoch_since"] is not None
    assert cli.main(["status"]) == 0
    assert f"1 logs went back, or may have (restored, copied, taken over), the last at {state['epoch_since']}" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("grown", [3, 5])
def test_a_log_that_went_back_and_grew_again_is_noticed_by_its_events(
    client: testing.TestClient, pool: Pool, users: Access, grown: int
) -> None:
    """As far as before, so that the projector is not behind, and further, so that it is."""
    key = api_key(users, 340)
    record(pool, 1, 11)
    project_all(pool)
    lost, epoch = get(client, key), epoch_of(pool)
    cut(pool, 7)
    record(pool, 21, 21 + grown, campaign_id=7)
    project_all(pool)
    rebuild(pool)
    answer = get(client, {**key, "If-None-Match": lost.headers["etag"]})
    assert emails(answer) == {123: 7, 7: grown}
    assert answer.headers["etag"] != lost.headers["etag"]
    assert epoch_of(pool) != epoch
    assert verification.verify(pool, 340, lambda _: None) == []
    renewed = epoch_of(pool)
    record(pool, 31, 41)
    project_all(pool)
    rebuild(pool)
    assert epoch_of(pool) == renewed, "it does not change while the log grows"


@pytest.mark.parametrize("head", [12, 30])
def test_a_batch_that_was_sorted_ahead_is_of_no_use_for_another_past(pool: Pool, head: int) -> None:
    """The projector has read what follows its batch, to the end of the log or not, and just that is lost."""
    record(pool, 1, head + 1)
    projector = Projector(pool, batch=2)  # eight at once, since the workspace is alone
    assert projector.step()
    cut(pool, 8)
    record(pool, 51, 51 + head - 8, campaign_id=7)
    while projector.step():
        pass
    rebuild(pool)
    project_all(pool)
    assert verification.verify(pool, 340, lambda _: None) == []
    with pool.connection() as connection:
        live = "SELECT campaign_id, facts FROM campaign JOIN projection USING (workspace_id, generation)"
        counts = connection.execute(live).fetchall()
    assert sorted(counts) == [(7, head - 8), (123, 8)]


@pytest.mark.parametrize("large", [False, True])
def test_a_replay_of_a_log_that_is_lost_meanwhile_changes_nothing(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, *, large: bool
) -> None:
    """Small or large, what it has read is not put in place of the live rows."""
    monkeypatch.setattr(replay, "NEARLY_THERE", 5 if large else 1_000)
    record(pool, 1, 31)
    project_all(pool)
    read = ledger.read_plain

    def lose_meanwhile(*arguments: Any, **more: Any) -> Any:
        rows = read(*arguments, **more)
        if more["after"] == (30 if large else 0):
            monkeypatch.setattr(ledger, "read_plain", read)
            cut(pool, 20)
            record(pool, 51, 71, campaign_id=7)
        return rows

    monkeypatch.setattr(ledger, "read_plain", lose_meanwhile)

    def append(_: int) -> None:
        if large:
            record(pool, 31, 41)

    with pytest.raises((SupersededError, WentBackError)):
        replay.replay(pool, 340, append)
    rebuild(pool)
    project_all(pool)
    assert verification.verify(pool, 340, lambda _: None) == []


def test_a_lost_log_that_cant_be_folded_as_a_whole_is_shown_as_far_as_it_can(
    client: testing.TestClient, pool: Pool, users: Access
) -> None:
    """It is stuck where the event is, as any workspace is, and does not stay away."""
    key = api_key(users, 340)
    record(pool, 1, 11)
    project_all(pool)
    cut(pool, 8)
    with pool.connection() as connection:
        connection.execute("UPDATE stored_events SET topic = 'nobody:Knows' WHERE workspace_id = 340 AND position = 5")
    rebuild(pool)
    project_all(pool)
    answer = get(client, key)
    assert emails(answer) == {123: 4}
    assert answer.headers["X-Lag"] == "4"


def test_what_was_set_aside_of_the_lost_past_is_folded_in_the_new_one(pool: Pool) -> None:
    """The position is another event's now."""
    record(pool, 1, 11)
    with pool.connection() as connection:
        for position in (2, 9):
            connection.execute(
                "UPDATE stored_events SET topic = 'nobody:Knows' WHERE workspace_id = 340 AND position = %s",
                (position,),
            )
            set_aside.put(connection, 340, position, reason="a test", by="cli:test")
    project_all(pool)
    cut(pool, 8)
    record(pool, 21, 25)
    rebuild(pool)
    project_all(pool)
    with pool.connection() as connection:
        assert set_aside.positions(connection, 340) == {2}
        live = "SELECT facts FROM campaign JOIN projection USING (workspace_id, generation)"
        [(number,)] = connection.execute(live).fetchall()
    assert number == 11


def test_the_feed_answers_409_after_the_log_went_back(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """By the epoch, and at once where the log ends in front of what was read; without an epoch it is as it was."""
    key = api_key(users, 340)
    feed = "/api/v1/events/"
    record(pool, 1, 11)
    project_all(pool)
    first = get(client, key, feed, limit=5).json
    epoch = first["epoch"]
    assert epoch == str(epoch_of(pool))
    rest = get(client, key, feed, after=5, epoch=epoch).json
    assert [each["position"] for each in rest["events"]] == [6, 7, 8, 9, 10]
    assert rest["epoch"] == epoch
    assert get(client, key, feed, after=10, epoch=epoch).json["events"] == []
    cut(pool, 8)
    gone = get(client, {**key, "If-None-Match": "*"}, feed, after=10, epoch=epoch)
    assert gone.status_code == 409, "a precondition counts only where the answer would be a success"
    assert gone.json == {
        "error": "after: the log ends at 8; it has lost events that were read, or is another log:"
        " read it from the beginning"
    }
    assert get(client, key, feed, after=10).json["position"] == 10
    record(pool, 21, 26)
    rebuild(pool)
    gone = get(client, key, feed, after=10, epoch=epoch)
    assert gone.status_code == 409
    assert gone.json["error"].startswith(f"epoch: the log's is {epoch_of(pool)}; ")
    again = get(client, key, feed).json
    assert get(client, key, feed, after=again["position"], epoch=again["epoch"]).status_code == 200


@pytest.mark.parametrize("epoch", ["0", "-1", "x", "1.0", str(2**63), ""])
def test_an_epoch_that_is_none_is_refused_by_name(client: testing.TestClient, users: Access, epoch: str) -> None:
    answer = get(client, api_key(users, 340), "/api/v1/events/", epoch=epoch)
    assert answer.status_code == 400
    assert answer.json["details"][0]["field"] == "epoch"


def test_a_foreign_workspace_reveals_no_epoch(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """It is a 403, whatever is given."""
    record(pool, 1, 2)
    key = api_key(users, 341)
    for epoch in (epoch_of(pool), 1):
        assert get(client, key, "/api/v1/events/", epoch=epoch).status_code == 403


@pytest.mark.parametrize("rebuilt", [False, True])
def test_the_cursor_of_an_explanation_is_refused_by_another_past(
    client: testing.TestClient, pool: Pool, users: Access, *, rebuilt: bool
) -> None:
    """And goes on while the log only grows, whatever became of its epoch."""
    key = api_key(users, 340)
    question = {"metric": "amount_of_emails_sent", "limit": 4}
    record(pool, 1, 6)
    project_all(pool)
    with backed_up(pool):
        record(pool, 6, 11)
        project_all(pool)
        first = get(client, key, EXPLAIN, **question).json
        record(pool, 11, 14)
        project_all(pool)
        second = get(client, key, EXPLAIN, **question, cursor=first["next"]).json
        assert (second["value"], len(second["contributions"])) == (10, 4)
    record(pool, 21, 30)
    project_all(pool)
    if rebuilt:
        replay.replay(pool, 340, lambda _: None)
    answer = get(client, key, EXPLAIN, **question, cursor=first["next"])
    assert answer.status_code == 400
    assert answer.json["details"] == [{"field": "cursor", "error": PAST}]


def test_a_projector_remembers_what_a_restored_database_lacks(pool: Pool) -> None:
    """Rows and log fit together, so nothing is rebuilt; but readers have seen more, so the epoch is another."""
    record(pool, 1, 6)
    projector = Projector(pool)
    projector.step()
    with backed_up(pool):
        record(pool, 6, 11)
        projector.step()
        epoch = epoch_of(pool)
    assert epoch_of(pool) == epoch
    record(pool, 21, 31)
    projector.step()
    renewed = epoch_of(pool)
    assert renewed != epoch
    record(pool, 31, 41)
    projector.step()
    assert epoch_of(pool) == renewed


@pytest.fixture
def unused_url(server_url: str) -> Iterator[str]:
    """Give a database that no other session knows, so that it can be copied."""
    with new_database(server_url) as url:
        yield url


def test_a_copy_of_a_database_has_epochs_of_its_own(server_url: str, unused_url: str) -> None:
    """A reader that goes on from one in the other gets 409; and no body or tag is shared."""
    database.migrate(unused_url)
    name = conninfo_to_dict(unused_url)["dbname"]
    copy = f"{name}_copy"
    with database.open_pool(unused_url, size=2) as pool:
        record(pool, 1, 6)
        project_all(pool)
        epoch = epoch_of(pool)
        database.migrate(unused_url)
        assert epoch_of(pool) == epoch
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(copy), sql.Identifier(str(name)))
        )
    try:
        url = url_of(server_url, copy)
        with users_of(url) as users, serving(url) as service, database.open_pool(url, size=2) as pool:
            key = api_key(users, 340)
            query = f"/api/v1/events/?workspace_id=340&after=5&epoch={epoch}"
            assert service.request("GET", query, key).status == 409
            assert epoch_of(pool) != epoch
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(copy)))


def test_a_fail_over_is_another_database(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    """Another timeline gives all logs new epochs once; an unknown timeline is not compared."""
    record(pool, 1, 2)
    epochs.notice(pool)
    epoch = epoch_of(pool)
    with pool.connection() as connection:
        connection.execute("UPDATE database_identity SET timeline = '00000000'")
    epochs.notice(pool)
    assert epoch_of(pool) != epoch
    assert "1 logs have a new epoch" in caplog.text
    epoch = epoch_of(pool)
    epochs.notice(pool)
    with pool.connection() as connection:
        connection.execute("UPDATE database_identity SET timeline = NULL, system_identifier = NULL")
    epochs.notice(pool)
    assert epoch_of(pool) == epoch
    with pool.connection() as connection:
        connection.execute("TRUNCATE database_identity")
    epochs.notice(pool)
    assert epoch_of(pool) != epoch, "an operator asks for it so, who has restored tables or a disk"


def test_an_older_program_may_move_the_position_alone(pool: Pool) -> None:
    """It knows of no marks; a projector of this version goes on from there, and raises no false alarm."""
    record(pool, 1, 3)
    project_all(pool)
    epochs.notice(pool)
    epoch = epoch_of(pool)
    with pool.connection() as connection:
        [marked] = connection.execute("SELECT mark, mark_position FROM projection").fetchall()
        record(pool, 3, 6)
        project_all(pool)
        connection.execute("UPDATE projection SET mark = %s, mark_position = %s", marked)
    epochs.notice(pool)
    record(pool, 6, 8)
    project_all(pool)
    epochs.notice(pool)
    assert epoch_of(pool) == epoch
    assert verification.verify(pool, 340, lambda _: None) == []


def test_a_database_of_an_older_version_gets_epochs_and_marks(server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its logs and projections stay as they are; and from then on it is noticed when a quiet log goes back."""
    all_migrations = database.migrations()
    with new_database(server_url) as url, monkeypatch.context() as before:
        before.setattr(database, "migrations", lambda: all_migrations[:8])
        before.setattr(epochs, "compare_identity", lambda _: None)
        database.migrate(url)
        with database.open_pool(url, size=2) as pool:
            record(pool, 1, 6)
            with pool.connection() as connection:
                connection.execute(
                    "INSERT INTO projection (workspace_id, generation, position, fold_version, projected_at)"
                    " VALUES (340, 7, 5, %s, now())",
                    (FOLD_VERSION,),
                )
            before.undo()
            assert database.migrate(url) == [each.name for each in all_migrations[8:]]
            epoch = epoch_of(pool)
            assert epoch > 0
            epochs.notice(pool)
            assert epoch_of(pool) == epoch
            cut(pool, 3)
            record(pool, 11, 13)
            epochs.notice(pool)
            assert epoch_of(pool) != epoch
            with pool.connection() as connection:
                ledger.record(connection, 341, parsed(email_sent(1)))
            assert epoch_of(pool, 341) not in (epoch, epoch_of(pool))


def test_a_log_that_is_gone_as_a_whole_leaves_nothing(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """Neither numbers nor an epoch; and what is then sent begins another log."""
    key = api_key(users, 340)
    record(pool, 1, 6)
    project_all(pool)
    epoch = epoch_of(pool)
    with pool.connection() as connection:
        connection.execute("DELETE FROM stored_events WHERE workspace_id = 340")
        connection.execute("DELETE FROM log_head WHERE workspace_id = 340")
    assert get(client, key).status_code == 503
    ahead = ["workspace 340: includes position 5, but its log ends at 0"]
    assert verification.verify(pool, 340, lambda _: None) == comparison.changes(pool, 340, lambda _: None) == ahead
    rebuild(pool)
    assert emails(get(client, key)) == {}
    gone = get(client, key, "/api/v1/events/", after=5, epoch=epoch)
    assert gone.status_code == 409
    assert gone.json["error"].startswith("epoch: the log's is none yet; ")
    record(pool, 11, 21)
    assert epoch_of(pool) != epoch


def test_a_running_service_mends_itself(database_url: str) -> None:
    """Its worker and its projector run on while the log's end is lost and others come to the same positions."""

    def ask(service: Service, key: dict[str, str], **more: str) -> Answer:
        return service.request("GET", f"{DASHBOARD}?workspace_id=340", {**key, **more})

    with users_of(database_url) as users, serving(database_url) as service:
        key = api_key(users, 340)
        with database.open_pool(database_url, size=2) as pool:
            service.post(340, key, *[email_sent(number) for number in range(1, 11)])
            wait_for(lambda: ask(service, key).headers["X-Position"] == "10")
            lost = ask(service, key)
            epoch = epoch_of(pool)
            cut(pool, 5)
            assert ask(service, key, **{"If-None-Match": lost.headers["ETag"]}).status == 503
            wait_for(lambda: ask(service, key).status == 200)
            service.post(340, key, *[email_sent(number, campaign_id=7) for number in range(21, 26)])
            wait_for(lambda: ask(service, key).headers["X-Position"] == "10")
            answer = ask(service, key, **{"If-None-Match": lost.headers["ETag"]})
            assert answer.status == 200
            sent = {each["id"]: each["analytics"]["amount_of_emails_sent"] for each in answer.json["campaigns"]}
            assert sent == {123: 5, 7: 5}
            query = f"/api/v1/events/?workspace_id=340&after=10&epoch={epoch}"
            assert service.request("GET", query, key).status == 409
            assert "the log of workspace 340 went back" in service.output
