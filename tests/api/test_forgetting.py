"""Shows that a person can be forgotten: nothing of the id is left, no number moves, and nothing brings it back."""

import json
import re
from collections.abc import Callable
from threading import Event, Thread
from typing import Any
from urllib.parse import quote

import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st
from psycopg.sql import SQL, Identifier

from domain import ledger
from domain.access import Access
from domain.recorder import Pool
from domain.workspaces import Workspace
from projections import access
from projections.building import forgetting, generations, replay, verification
from projections.building.generations import SupersededError
from projections.building.projector import Projector
from projections.queries import rejections
from projections.queries.rejections import Rejection
from service.clock import clock
from tests.support import reference
from tests.support.examples import api_key, email_sent, parsed
from tests.support.histories import histories, workspaces
from tests.support.properties import on_the_database
from tests.support.read_models import in_small_pieces, live_rows, project_all, shown
from tests.support.stored_events import execute, record

JANE = "jane.doe@example.com"
BASE = "/api/v1/dashboard/campaign-analytics/"
TOKEN = re.compile("forgotten-[0-9a-f]{32}")


def tables_with(pool: Pool, text: str) -> list[str]:
    """Return the tables that have a text in some row, whatever the column's type is."""
    tables = []
    with pool.connection() as database:
        names = [name for (name,) in database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        for name in names:
            as_bytes = [
                SQL("OR position(%(bytes)s IN {}) > 0").format(Identifier(column))
                for (column,) in database.execute(
                    "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND atttypid = 'bytea'::regtype"
                    " AND attnum > 0 AND NOT attisdropped",
                    (name,),
                )
            ]
            query = SQL("SELECT EXISTS (SELECT FROM {table} AS t WHERE position(%(text)s IN t::text) > 0 {bytes})")
            query_of_table = query.format(table=Identifier(name), bytes=SQL(" ").join(as_bytes))
            if database.execute(query_of_table, {"text": text, "bytes": text.encode()}).fetchone() == (True,):
                tables.append(name)
    return tables


class World:
    """Workspace 340, a key that writes and reads there, and the platform with its admin key."""

    def __init__(self, client: testing.TestClient, pool: Pool, users: Access) -> None:
        """Take what answers."""
        self.client = client
        self.pool = pool
        self.users = users
        self.key = api_key(users, 340)
        self.admin = api_key(users, user="platform", scopes=("admin",))

    def post(self, *events: dict[str, Any]) -> Any:
        """Post events, and return what is answered."""
        headers = {**self.key, "Content-Type": "application/json"}
        body = json.dumps(events)
        return self.client.simulate_post("/api/v1/events/", headers=headers, body=body, query_string="workspace_id=340")

    def get(self, path: str, query: str = "", **headers: str) -> testing.Result:
        """Read something of the workspace."""
        query_string = f"workspace_id=340{query}"
        return self.client.simulate_get(path, headers={**self.key, **headers}, query_string=query_string)

    def forget(self, prospect: str = JANE, query: str = "workspace_id=340", **headers: str) -> testing.Result:
        """Forget a prospect over HTTP."""
        path = f"/api/v1/prospects/{prospect}/"
        return self.client.simulate_delete(path, headers=headers or self.admin, query_string=query)


@pytest.fixture
def world(client: testing.TestClient, pool: Pool, users: Access) -> World:
    """Give the world."""
    return World(client, pool, users)


def of_jane(number: int, **fields: Any) -> dict[str, Any]:
    """Return an event of the person's, whose names contain the id."""
    return email_sent(number, prospect_id=JANE, id=f"mail:{JANE}:{number}", source=f"box/{JANE}", **fields)


def retraction(number: int, of: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a retraction of an event."""
    retracts = {"id": of["id"], "source": of["source"]}
    event = {**of_jane(number), "type": "EventRetracted", "retracts": retracts}
    return {**event, **fields}


@pytest.mark.parametrize("projected", [True, False])
def test_nothing_is_left_of_the_id_and_no_number_moves(world: World, projected: bool) -> None:  # noqa: FBT001
    """In events, journeys and rejections, also where nothing is projected yet; retractions go on taking back."""
    by_mistake = {**retraction(6, of_jane(3)), "prospect_id": None}
    reply = of_jane(7, type="ReplyReceived", campaign_id=4, occurred_at="2026-11-05T10:00:00Z")
    sent = [of_jane(1), of_jane(2), retraction(5, of_jane(1)), of_jane(3), by_mistake, email_sent(4), reply]
    assert world.post(*sent).json["accepted"] == 7
    refused = world.post(of_jane(8, occurred_at="1960-01-01T00:00:00Z"), of_jane(1, step=5))
    assert [each["code"] for each in refused.json["rejected"]] == ["out_of_range", "conflict"]
    project_all(world.pool) if projected else None
    before = world.get(BASE).json, world.get(f"{BASE}breakdown/").json, world.get(f"{BASE}timeseries/").json
    assert {"stored_events", "rejected_event"} <= set(tables_with(world.pool, JANE))

    answer = world.forget()
    assert answer.status_code == 200
    assert TOKEN.fullmatch(answer.json["token"])
    assert answer.json["events"] == 5
    assert tables_with(world.pool, JANE) == []
    if projected:
        assert before == (
            world.get(BASE).json,
            world.get(f"{BASE}breakdown/").json,
            world.get(f"{BASE}timeseries/").json,
        )
    project_all(world.pool)
    [first, second] = world.get(BASE).json["campaigns"]
    assert first["analytics"]["amount_of_replies"] + second["analytics"]["amount_of_replies"] == 1
    assert second["analytics"]["amount_of_emails_sent"] == 3  # of four, one is retracted
    assert verification.verify(world.pool, 340, lambda _: None) == []
    replay.replay(world.pool, 340, lambda _: None)
    assert second == world.get(BASE).json["campaigns"][1]
    assert tables_with(world.pool, JANE) == []
    feed = world.get("/api/v1/events/").text
    assert answer.json["token"] in feed
    assert '"key"' not in feed


def test_a_late_resend_is_a_duplicate_and_brings_nothing_back(world: World) -> None:
    """Also one with other content, which would be a conflict and so a rejection that names the id."""
    sent = [of_jane(1), of_jane(2), retraction(3, of_jane(1))]
    world.post(*sent)
    project_all(world.pool)
    world.forget()
    for again in (sent, [of_jane(1, step=9)], [sent[2]]):
        answer = world.post(*again).json
        assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (0, len(again), [])
    project_all(world.pool)
    assert tables_with(world.pool, JANE) == []
    [campaign] = world.get(BASE).json["campaigns"]
    assert campaign["analytics"]["amount_of_emails_sent"] == 1


def test_a_token_that_was_imported_is_a_prospect_like_any_other(world: World) -> None:
    """What is exported after the forgetting names the token as prospect; there other content is a conflict again."""
    token = f"forgotten-{'0' * 32}"
    assert world.post(email_sent(1, prospect_id=token)).json["accepted"] == 1
    assert world.post(email_sent(1, prospect_id=token)).json["duplicates"] == 1
    assert world.post(email_sent(1, prospect_id=token, step=1)).json["rejected"][0]["code"] == "conflict"


def test_an_exported_log_means_the_same(world: World) -> None:
    """A retraction in it names what it takes back, by the names that both have now."""
    world.post(of_jane(1), retraction(2, of_jane(1)))
    project_all(world.pool)
    world.forget()
    lines = [{**each, "campaign_id": 9} for each in world.get("/api/v1/events/").json["events"]]
    for each in lines:
        del each["position"], each["recorded_at"]
    record(world.pool, 341, *lines)
    project_all(world.pool)
    assert shown(world.pool, 341) == []


def test_names_that_would_be_too_long_become_the_key(world: World) -> None:
    """A short id may be in a name very often."""
    event = email_sent(1, prospect_id="x", id="x" * 128, source="x" * 256)
    world.post(event, {**retraction(2, event), "id": "r", "source": "", "prospect_id": "x"})
    project_all(world.pool)
    assert world.forget("x").json["events"] == 2
    project_all(world.pool)
    replay.replay(world.pool, 340, lambda _: None)
    assert world.get(BASE).json == {"campaigns": []}
    assert world.post(event).json["duplicates"] == 1


def test_cached_tags_are_invalid_after_forgetting(world: World) -> None:
    """Tags of answers and of the feed move, and a page of an explanation can't be continued."""
    world.post(*(of_jane(number) for number in range(1, 4)), email_sent(9))
    world.post(of_jane(8, occurred_at="1960-01-01T00:00:00Z"))
    world.post(email_sent(8, occurred_at="1960-01-01T00:00:00Z"))
    project_all(world.pool)
    explain = f"{BASE}123/explain/"
    paths = {
        explain: "&metric=amount_of_emails_sent&limit=1",
        "/api/v1/events/": "",
        "/api/v1/events/rejections/": "",
        BASE: "",
    }
    tags = {path: world.get(path, query).headers["etag"] for path, query in paths.items()}
    as_of = f"{paths[explain]}&as_of=3"
    old = world.get(explain, as_of)
    cursor = world.get(explain, paths[explain]).json["next"]
    world.forget()
    for path, query in paths.items():
        assert world.get(path, query, **{"If-None-Match": tags[path]}).status_code == 200
    assert JANE not in world.get(explain, as_of, **{"If-None-Match": old.headers["etag"]}).text
    assert world.get(explain, f"{paths[explain]}&cursor={cursor}").status_code == 400


def test_the_log_of_workspace_0_names_the_token_only(world: World) -> None:
    """When, by whom, how many; and nothing where there was nothing to forget."""
    world.post(of_jane(1))
    token = world.forget().json["token"]
    assert world.forget().json == {"token": None, "events": 0}
    assert world.forget("nobody", "workspace_id=77").json == {"token": None, "events": 0}
    [event] = [
        each
        for each in world.users.events.get(Workspace.create_id(340))
        if isinstance(each, Workspace.ProspectForgotten)
    ]
    assert (event.token, event.events, event.by) == (token, 1, f"key:{world.admin['X-API-Key'].partition('.')[0]}")


def test_any_prospect_that_could_be_posted_can_be_forgotten(world: World) -> None:
    """Also one whose id has the character that stands for what is no UTF-8; a path that is none is a 400."""
    strange = "caf\N{REPLACEMENT CHARACTER}"
    world.post(email_sent(1, prospect_id=strange))
    project_all(world.pool)
    assert world.forget(quote(strange)).json["events"] == 1
    for slashes in ("a/b", "/a//"):
        world.post(email_sent(2, prospect_id=slashes, id=slashes))
        project_all(world.pool)
        assert world.forget(quote(slashes, safe="")).json["events"] == 1
    answer = world.forget("caf%E9")
    assert (answer.status_code, answer.json["details"]) == (400, [{"field": "prospect_id", "error": "expected UTF-8"}])


def test_only_an_admin_forgets(world: World) -> None:
    """And the workspace has to be named."""
    world.post(of_jane(1))
    assert world.forget(**world.key).status_code == 403
    assert world.forget(**{"X-API-Key": "x.y"}).status_code == 401
    for query in ("", "workspace_id=ALL", "workspace_id=340&x=1"):
        assert world.forget(query=query).status_code == 400
    assert world.forget("x" * 129).status_code == 400
    assert "stored_events" in tables_with(world.pool, JANE)


def test_what_can_not_be_folded_is_rewritten_too(world: World) -> None:
    """An event of a later version of its class, a damaged one, and its rejection."""
    world.post(of_jane(1), of_jane(2), of_jane(3))
    damage = {2: b'{"class_version":2,"prospect_id":"%b","new":1}', 3: b'{"prospect_id":"%b'}
    for position, state in damage.items():
        change = "UPDATE stored_events SET state = %s WHERE position = %s AND workspace_id = 340"
        execute(world.pool, change, state % JANE.encode(), position)
    project_all(world.pool)
    execute(world.pool, "UPDATE projection SET stuck_reason = %s", f"in vain: {JANE}")
    assert world.forget().json["events"] == 3
    assert tables_with(world.pool, JANE) == []


def test_a_short_id_spoils_no_words(world: World) -> None:
    """In error texts only whole words are replaced, since an id may be part of any word."""
    with world.pool.connection() as database:
        errors = [("e-5", "prospect 5: expected 15 or 55"), ("5", "5x")]
        rejections.keep(database, 340, [Rejection(1, id_, "", "malformed", error) for id_, error in errors])
    token = world.forget("5").json["token"]
    listed = world.get("/api/v1/events/rejections/").json["rejections"]
    assert [(each["id"], each["error"]) for each in listed] == [
        (token, "5x"),
        (f"e-{token}", f"prospect {token}: expected 15 or 55"),
    ]


def test_a_batch_that_was_read_before_is_read_again(world: World) -> None:
    """A projector keeps the next batch ready, decoded: it must not bring the id back."""
    world.post(*(of_jane(number) for number in range(1, 13)))
    projector = Projector(world.pool, batch=1)  # four at once, as no other workspace is behind
    assert projector.step()
    world.forget()
    while projector.step():
        pass
    assert tables_with(world.pool, JANE) == []
    assert verification.verify(world.pool, 340, lambda _: None) == []


def test_a_replay_under_way_is_superseded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has read the id; its rows must not become the live ones, and are gone once it has ended."""
    in_small_pieces(monkeypatch)
    world.post(*(of_jane(number) for number in range(1, 60)))
    project_all(world.pool)
    done: list[int] = []

    def once(_: int) -> None:
        if not done:
            done.append(world.forget().status_code)

    with pytest.raises(SupersededError):
        replay.replay(world.pool, 340, once)
    assert done == [200]
    generations.sweep(world.pool)
    assert tables_with(world.pool, JANE) == []
    replay.replay(world.pool, 340, lambda _: None)
    assert tables_with(world.pool, JANE) == []


def test_while_events_and_projectors_come_in(world: World) -> None:
    """Events after it have the id, as of a new prospect; events before it have the token; none is lost."""
    stop = Event()
    troubles: list[str] = []

    def guarded(work: Callable[[], object]) -> Thread:
        def run() -> None:
            try:
                while not stop.is_set():
                    work()
            except Exception as error:  # noqa: BLE001 (the assertion reports it)
                troubles.append(repr(error))

        return Thread(target=run)

    numbers = iter(range(1, 100_000))
    posted: list[int] = []

    def post() -> None:
        number = next(numbers)
        record(world.pool, 340, of_jane(number), email_sent(number, id=f"o-{number}"))
        posted.append(number)

    projector = Projector(world.pool, batch=3)
    threads = [guarded(post), guarded(projector.step), guarded(lambda: replay.replay(world.pool, 340, lambda _: None))]
    for thread in threads:
        thread.start()
    forgotten = 0
    for _ in range(8):
        reached = len(posted)
        while len(posted) < reached + 5 and not troubles:
            pass
        forgotten += world.forget().json["events"]
    stop.set()
    for thread in threads:
        thread.join()
    assert troubles == []
    forgotten += world.forget().json["events"]
    assert forgotten == len(posted)
    assert tables_with(world.pool, JANE) == []
    project_all(world.pool)
    assert verification.verify(world.pool, 340, lambda _: None) == []
    [campaign] = world.get(BASE).json["campaigns"]
    assert campaign["analytics"]["amount_of_emails_sent"] == 2 * len(posted)


@pytest.fixture(scope="module")
def shared(databases: Any) -> Any:
    """Give one database to all examples of the property."""
    from service import database  # noqa: PLC0415

    with databases.lend() as url, database.open_pool(url, size=5) as pool:
        yield pool


@on_the_database(40)
@given(history=histories, cut=st.integers(0, 40), named=st.booleans())
def test_no_number_moves(shared: Pool, history: list[dict[str, Any]], cut: int, named: bool) -> None:  # noqa: FBT001
    """Of any history, forgotten anywhere in it, projected or not, live or replayed: the reference's numbers stay."""
    workspace_id = next(workspaces)
    ids = {"a": "anna@example.com"}
    renamed_events = [
        {
            **each,
            **({"prospect_id": ids.get(each["prospect_id"], each["prospect_id"])} if each.get("prospect_id") else {}),
        }
        for each in history
    ]
    if named:
        mine = {each["id"] for each in renamed_events if each.get("prospect_id") == ids["a"]}
        for each in renamed_events:
            each["id"] = f"{each['id']}/{ids['a']}" if each["id"] in mine else each["id"]
            if "retracts" in each and each["retracts"]["id"] in mine:
                each["retracts"] = {**each["retracts"], "id": f"{each['retracts']['id']}/{ids['a']}"}
    expected = reference.campaigns(renamed_events)
    users = Access(shared, access.project, clock)
    with shared.connection() as database:
        ledger.record(database, workspace_id, parsed(*renamed_events[:cut]))
        project_all(shared)
        ledger.record(database, workspace_id, parsed(*renamed_events[cut:]))
        forgetting.forget(database, users, workspace_id, ids["a"], "cli:test")
    project_all(shared)
    assert shown(shared, workspace_id) == expected
    assert verification.verify(shared, workspace_id, lambda _: None) == []
    assert ledger_without(shared, workspace_id, ids["a"])
    rows = rows_but_names(shared, workspace_id)
    with shared.connection() as database:
        forgetting.forget(database, users, workspace_id, "b", "cli:test")
    assert rows_but_names(shared, workspace_id) == rows
    replay.replay(shared, workspace_id, lambda _: None)
    assert rows_but_names(shared, workspace_id) == rows
    assert shown(shared, workspace_id) == expected


def rows_but_names(pool: Pool, workspace_id: int) -> list[list[Any]]:
    """Return the live rows, of which all numbers are made, without the names of journeys."""
    with pool.connection() as database:
        campaigns, activity, journeys = live_rows(database, workspace_id)
    return [campaigns, activity, sorted((campaign, *row) for campaign, _, *row in journeys)]


def ledger_without(pool: Pool, workspace_id: int, prospect_id: str) -> bool:
    """Return whether no event of the prospect has the id, nor a journey."""
    with pool.connection() as database:
        rows = ledger.read(database, workspace_id, after=0, upto=1_000, limit=1_000)
        journeys = database.execute(
            "SELECT prospect_id FROM journey WHERE workspace_id = %s", (workspace_id,)
        ).fetchall()
    return not any(f'"prospect_id":"{prospect_id}"'.encode() in row.state for row in rows) and not any(
        each == (prospect_id,) for each in journeys
    )
