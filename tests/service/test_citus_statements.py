"""Holds that every statement of the service is one that Citus takes, without a Citus: by the rules of citus_rules."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from falcon import testing

from api.app import create_app
from domain.access import Access
from domain.recorder import Pool
from projections import access
from projections.building import epochs, rebuilding, replay, verification
from projections.building.projector import Projector
from service import cli, database, settings
from service.clock import clock
from service.web.application import make_parts
from tests.support import composed, stand_in
from tests.support.citus_rules import asks_all_nodes, faults
from tests.support.databases import Databases, connected
from tests.support.examples import JWT_SECRET, api_key, email_sent, session, worked_example
from tests.support.hooks import add_hook, deliver
from tests.support.read_models import ignore, in_small_pieces, project_all
from tests.support.statements import recording
from tests.support.stored_events import record, spoil

# Sent to plain PostgreSQL alone, where they are faster.
PLAIN = {
    "domain.recorder._APPEND": "an append in one statement; Citus gets it in steps",
    "projections.queries.caller._APPEND": "the same, on a condition",
    "projections.queries.caller._APPEND_TO_SEVERAL": "an append to several workspaces; on Citus each has its own",
    "projections.building.epochs._GONE": "compares all logs at once; Citus compares one after the other",
    "projections.queries.hooks._COUNT_PLAIN": "counts and looks for the hook at once",
    "projections.queries.standing._STANDINGS": "asks whether cached answers hold; on Citus each is made anew",
    "projections.queries.watching._LOOK": "asks for all streams at once; Citus is asked for each workspace",
}
# Ask all nodes; nobody who waits for one workspace waits for them.
OF_ALL_NODES = {
    "projections.building.lagging._LAGGING": "finds what is to be projected; one by one where a node is away",
    "projections.building.status._WORKSPACES": "is `status`, for operators",
    "projections.building.status._TOTAL": "is for probes and metrics, which go on without it",
    "projections.building.set_aside._LISTED": "is `status`, for operators",
    "projections.building.replay._WORKSPACES": "lists what `replay` rebuilds",
    "projections.building.rebuilding._TO_REBUILD": "finds what is to be rebuilt, which waits for the node",
    "projections.building.generations._EXPIRED": "finds what is to be swept, which waits for the node",
    "projections.building.epochs._SUSPECTS": "finds logs that went back; the projector looks at each again",
    "projections.building.epochs._UNMARKED": "finds what an older version has projected",
    "projections.building.epochs._RENEW_ALL": "gives all logs another epoch, in a database that was restored",
    "service.commands.workspaces._LISTS": "is `workspace list`, for operators",
}
PIECES = re.compile(r"\.SEEN$")  # begins statements, and is none
DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
EVENTS = "/api/v1/events/"
SENT_BY_TOOL = {
    "event_type": "EMAIL_SENT",
    "campaign_id": 1,
    "sl_lead_email": "jane@example.com",
    "event_timestamp": "2026-03-02T10:00:00Z",
    "stats_id": "s",
}
GETS = (
    *(DASHBOARD, f"{DASHBOARD}?include=extended", f"{DASHBOARD}?as_of=3", f"{DASHBOARD}?compare=previous_period"),
    *(f"{DASHBOARD}summary/", f"{DASHBOARD}timeseries/", f"{DASHBOARD}breakdown/?by=step", f"{DASHBOARD}reply-times/"),
    *(
        f"{DASHBOARD}123/explain/?metric=amount_of_replies",
        f"{DASHBOARD}changes/?from=1",
        f"{DASHBOARD}?min_position=5",
    ),
    *("/api/v1/campaigns/", "/api/v1/me/", EVENTS, f"{EVENTS}rejections/", "/readyz", "/metrics"),
    *("/api/v1/prospects/lookup/?email=jane@example.com", "/api/v1/access/hooks/", "/api/v1/access/users/u-1/"),
    "/api/v1/access/users/u-1/history/",
)


INSERT = "INSERT INTO log_head AS l (workspace_id, head) VALUES ($1, $2)"
REFUSED = {
    "UPDATE projection SET projected_at = clock_timestamp() WHERE workspace_id = $1": "a volatile function",
    "DELETE FROM projection WHERE workspace_id = $1 AND projected_at < clock_timestamp()": "a volatile function",
    f"{INSERT} ON CONFLICT (workspace_id) DO UPDATE SET epoch_since = clock_timestamp()": "a volatile function",
    "UPDATE projection SET lost_at = coalesce(lost_at, now()) WHERE workspace_id = $1": "CASE or COALESCE",
    "UPDATE campaign SET totals = totals[1:10] WHERE workspace_id = $1": "a slice of an array",
    f"{INSERT} RETURNING head > $3": "a parameter in RETURNING",
    f"{INSERT} RETURNING head, clock_timestamp()": "a function of the time in RETURNING",
    "INSERT INTO rejected_event (workspace_id, at) SELECT $1, at FROM unnest($2) AS k (at)": "without an alias",
    f"WITH moved AS ({INSERT} RETURNING head) SELECT head FROM moved": "INSERT in a WITH",
    "SELECT generation FROM projection WHERE generation = $1 FOR UPDATE": "FOR UPDATE of several workspaces",
    "SELECT FROM hook JOIN hook_received USING (hook_id)": "a table of the coordinator alone",
}
ONE_WORKSPACE = (
    "SELECT head FROM log_head WHERE workspace_id = $1",
    "SELECT p.position FROM log_head AS h LEFT JOIN projection AS p USING (workspace_id) WHERE h.workspace_id = $1",
    "SELECT FROM log_head AS h JOIN hook AS k ON k.workspace_id = h.workspace_id WHERE h.workspace_id = $1::bigint",
    "UPDATE projection SET mark = (SELECT 1 FROM stored_events WHERE workspace_id = $1) WHERE workspace_id = $1",
    "SELECT user_id FROM workspace_link",
)
SEVERAL_WORKSPACES = (
    "SELECT head FROM log_head",
    "SELECT head FROM log_head WHERE workspace_id > $1",
    "SELECT head FROM log_head WHERE head = $1",
    "SELECT FROM log_head AS h, projection AS p WHERE h.workspace_id = $1",
    "UPDATE projection SET mark = (SELECT 1 FROM stored_events WHERE position = 1) WHERE workspace_id = $1",
    "DELETE FROM set_aside WHERE position = $1",
)


@pytest.mark.parametrize("statement", REFUSED)
def test_the_rules_reject_what_citus_refuses(statement: str) -> None:
    """Each of these it was seen to refuse, or to be ended by."""
    [fault] = faults(statement)
    assert REFUSED[statement] in fault


def test_the_rules_recognise_a_statement_about_one_workspace() -> None:
    """By an equality of its own, or by that of a table that it is joined with."""
    assert [each for each in ONE_WORKSPACE if asks_all_nodes(each)] == []
    assert [each for each in SEVERAL_WORKSPACES if not asks_all_nodes(each)] == []


def named() -> dict[str, set[str]]:
    """Return all composed statements with the names of what holds them, without pieces of statements."""
    return {text: names for text, names in composed.statements().items() if not any(map(PIECES.search, names))}


def test_every_composed_statement_is_one_that_citus_takes() -> None:
    """And is about one workspace that it names, but for those with a reason."""
    wrong: dict[str, list[str]] = {}
    plain, of_all = set[str](), set[str]()
    for text, names in named().items():
        if names & PLAIN.keys():
            plain |= names & PLAIN.keys()
            continue
        if problems := faults(text):
            wrong[text] = problems
        if asks_all_nodes(text):
            of_all |= names & OF_ALL_NODES.keys()
            if not names & OF_ALL_NODES.keys():
                wrong[text] = ["asks all nodes: name the workspace of each table, or give a reason in OF_ALL_NODES"]
    assert not wrong, json.dumps(wrong, indent=1)
    assert plain == PLAIN.keys()
    assert of_all == OF_ALL_NODES.keys()


@pytest.fixture
def stood_in(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give a database with the stand-in, on which commands run too."""
    with databases.lend() as url:
        stand_in.install(url)
        monkeypatch.setenv("DATABASE_URL", url)
        yield url


@pytest.mark.load
def test_every_statement_that_is_sent_is_one_that_citus_takes(
    stood_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through requests, commands, the projector and replays; what they send is either composed or begins and ends."""
    with recording(tmp_path / "trace") as recorded:
        work(stood_in, tmp_path, monkeypatch)
    sent = {composed.normal(each) for each in recorded.statements}
    known = named()
    of_all = {text for text, names in known.items() if names & OF_ALL_NODES.keys()}
    wrong = {each: problems for each in sent if (problems := faults(each))}
    unnamed = [each for each in sent - of_all if asks_all_nodes(each)]
    assert not wrong, json.dumps(wrong, indent=1)
    assert not unnamed
    unsent = [min(names) for text, names in known.items() if text not in sent and not names & PLAIN.keys()]
    assert len(unsent) < 0.15 * len(known), "\n".join(unsent)


def work(url: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do with a database whatever the service does."""
    assert cli.main(["migrate"]) == 0
    with database.open_pool(url, size=20) as pool:
        execute(pool, "DELETE FROM fold_version WHERE version > 1")  # as before the first projection
        users = Access(pool, access.project, clock)
        key = api_key(users, 340, 341, scopes=("read", "write", "admin"))
        _request(pool, key)
        for each in (stuck_and_set_aside, rebuild, went_back):
            each(pool, monkeypatch)
    command(directory)


def _request(pool: Pool, key: dict[str, str]) -> None:
    environment = {"JWT_SECRET": JWT_SECRET, "DATABASE_URL": "postgresql://unused", "RATE_LIMIT": "1000"}
    parts = make_parts(pool, settings.from_environment(environment), {})
    client = testing.TestClient(create_app(parts))
    created = {"type": "CampaignCreated", "name": "A", "status": "ACTIVE", "occurred_at": "2026-11-01T09:00:00Z"}
    retracted = {**email_sent(3), "type": "EventRetracted", "retracts": {"id": "e-1"}, "id": "r-1"}
    posts: tuple[list[dict[str, Any]], ...] = (
        [{"id": "c", "campaign_id": 123, **created}, *worked_example()],
        [*worked_example(), email_sent(1, id=""), {**worked_example()[0], "prospect_id": "other"}],
        [email_sent(number) for number in range(300)],
        [retracted],
        [
            {
                **{name: each for name, each in email_sent(9, id="k").items() if name != "campaign_id"},
                "campaign_key": "x",
            }
        ],
    )
    for events in posts:
        answer = client.simulate_post(EVENTS, headers=key, params={"workspace_id": 340}, json={"events": events})
        assert answer.status_code in (200, 207), answer.text
    Projector(pool, on_poll=(stop := Event()).set).run(stop)
    project_all(pool)
    hook = add_hook(pool, "smartlead")
    for body in (SENT_BY_TOOL, {"event_type": "X"}):
        deliver(client, "smartlead", hook.token, body)
    for path in GETS:
        for workspace in ("", "340", "ALL"):
            separator = "&" if "?" in path else "?"
            url = f"{path}{separator}workspace_id={workspace}" if workspace else path
            for headers in (key, session()):
                assert client.simulate_get(url, headers=headers).status_code < 500, url
    named_key = {"scopes": ["read"], "name": "x"}
    client.simulate_put("/api/v1/access/workspaces/340/", headers=key, json={"name": "Sales"})
    client.simulate_put("/api/v1/access/users/u-2/workspaces/341/", headers=key)
    client.simulate_put("/api/v1/access/users/u-2/current-workspace/", headers=key, json={"workspace_id": 341})
    issued = client.simulate_post("/api/v1/access/users/u-2/keys/", headers=key, json=named_key).json
    client.simulate_delete(f"/api/v1/access/users/u-2/keys/{issued['prefix']}/", headers=key)
    client.simulate_delete("/api/v1/access/users/u-2/workspaces/341/", headers=key)
    client.simulate_delete("/api/v1/prospects/p-5/", headers=key, params={"workspace_id": 340})
    client.simulate_delete(f"/api/v1/access/hooks/{hook.hook_id}/", headers=key)
    parts.authentication.last_use.close()


def stuck_and_set_aside(pool: Pool, _: pytest.MonkeyPatch) -> None:
    """Let a workspace be stuck, go past the event, and take it back in."""
    record(pool, 1, *(email_sent(number) for number in range(10)))
    spoil(pool, 6, "topic")
    project_all(pool)
    where = ("--workspace", "1", "--position", "6")
    assert cli.main(["status"]) == 0
    assert cli.main(["set-aside", *where, "--reason", "a trial"]) == 0
    project_all(pool)
    execute(
        pool,
        "UPDATE stored_events SET topic = (SELECT topic FROM stored_events WHERE workspace_id = 1 LIMIT 1)"
        " WHERE workspace_id = 1",
    )
    assert cli.main(["set-aside", *where, "--undo"]) == 0


def execute(pool: Pool, statement: str) -> None:
    """Run a statement of the test's own, which is not recorded."""
    with connected(pool) as connection:
        connection.execute(statement.encode())


class Once:
    """Stops once there is nothing left to be rebuilt."""

    def __init__(self) -> None:
        """Begin."""
        self._waited = False

    def is_set(self) -> bool:
        """Return whether there was nothing left."""
        return self._waited

    def wait(self, _: float) -> None:
        """Note that there is nothing left."""
        self._waited = True


def rebuild(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replay at once and by parts, and what an older version has projected."""
    verification.verify(pool, 340, ignore)
    replay.replay(pool, 340, ignore)
    with monkeypatch.context() as patch:
        in_small_pieces(patch)
        replay.replay(pool, 340, ignore)
    execute(pool, "INSERT INTO fold_version SELECT 3, measures FROM fold_version ORDER BY version DESC LIMIT 1")
    execute(pool, "UPDATE projection SET fold_version = 3 WHERE workspace_id = 340")
    assert cli.main(["replay", "--verify", "--summary", "--workers", "1"]) in (0, 1)
    rebuilding.keep_current(pool, Once())  # type: ignore[arg-type]  # all of an event that is used


def went_back(pool: Pool, _: pytest.MonkeyPatch) -> None:
    """Let logs end before what was projected, and begin again where one can't be rebuilt."""
    record(pool, 2, *(email_sent(number) for number in range(5)))
    projector = Projector(pool)
    projector.step()
    for change in (
        "DELETE FROM stored_events WHERE workspace_id = 2 AND position > 3",
        "UPDATE log_head SET head = 3 WHERE workspace_id = 2",
        "UPDATE stored_events SET state = 'damaged' WHERE workspace_id = 2 AND position = 2",
        "INSERT INTO set_aside VALUES (2, 5, '', '', '', now(), '')",
        "UPDATE projection SET mark_position = 0 WHERE workspace_id = 1",
        "UPDATE database_identity SET database = 1",
    ):
        execute(pool, change)
    epochs.notice(pool)
    rebuilding.keep_current(pool, Once())  # type: ignore[arg-type]  # all of an event that is used
    record(pool, 2, *(email_sent(number) for number in range(10, 15)))
    while projector.step():
        pass


def command(directory: Path) -> None:
    """Run the commands."""
    file = directory / "log.ndjson"
    file.write_text("".join(json.dumps(email_sent(number)) + "\n" for number in range(20)), encoding="utf-8")
    arguments: tuple[tuple[str, ...], ...] = (
        ("import", str(file), "--workspace", "7", "--create"),
        ("export", "--workspace", "7"),
        ("replay", "--workers", "1"),
        ("explain", "--workspace", "340", "--campaign", "123"),
        ("access", "link", "u-3", "340"),
        ("access", "keys", "u-1"),
        ("access", "show", "u-1"),
        ("hooks", "add", "340", "smartlead"),
        ("hooks", "list"),
        ("status", "--json"),
        ("workspace", "list"),
        ("workspace", "rename", "340", "Sales"),
        ("forget", "--workspace", "340", "--prospect", "p-7"),
        ("workspace", "delete", "340", "--yes", "340"),
    )
    for each in arguments:
        assert cli.main(each) in (0, 1), each
