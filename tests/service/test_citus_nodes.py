"""Shows what goes on while a node of Citus does not answer, on the stand-in, which fails as if it were so."""

import asyncio
import logging
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from falcon import testing
from psycopg import OperationalError

from api import health
from domain.access import Access
from domain.api_keys import secret_sha256
from domain.recorder import Database, Pool
from projections.building import lagging
from projections.building.projector import Projector
from projections.pipeline import Pipeline
from projections.queries.caller import Asked, Credentials
from projections.queries.standing import look
from projections.queries.watching import Watched, ask_all
from service import citus, database
from tests.support import stand_in
from tests.support.databases import Databases
from tests.support.examples import api_key, email_sent, worked_example
from tests.support.read_models import project_all
from tests.support.stored_events import log, record

EVENTS = "/api/v1/events/"
DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
READS = (DASHBOARD, f"{DASHBOARD}summary/", "/api/v1/campaigns/", f"{DASHBOARD}?include=extended")


@pytest.fixture
def owner_url(databases: Databases) -> Iterator[str]:
    """Give a database with the stand-in, as its owner."""
    with databases.lend() as url:
        stand_in.install(url)
        database.migrate(url)
        yield url


@pytest.fixture
def database_url(owner_url: str) -> Iterator[str]:
    """Give it as the service uses it, with nodes that can be lost."""
    with stand_in.with_nodes_to_lose(owner_url, citus.DISTRIBUTED) as url:
        yield url


@pytest.fixture
def key(owner_url: str, pool: Pool, users: Access) -> dict[str, str]:
    """Let three workspaces have events, and the node of 341 be away; give a key for all three."""
    header = api_key(users, 340, 341, 342)
    for workspace_id in (340, 341, 342):
        record(pool, workspace_id, *worked_example())
    project_all(pool)
    stand_in.lose(owner_url, 341)
    return header


def post(client: testing.TestClient, key: dict[str, str], workspace_id: int, *events: dict[str, Any]) -> testing.Result:
    """Post events."""
    return client.simulate_post(EVENTS, headers=key, params={"workspace_id": workspace_id}, json={"events": events})


def get(client: testing.TestClient, key: dict[str, str], path: str, workspace: object) -> testing.Result:
    """Ask something of a workspace, or of all."""
    path, _, query = path.partition("?")
    more = dict(each.split("=") for each in query.split("&") if each)
    return client.simulate_get(path, headers=key, params={"workspace_id": workspace, **more})


def test_workspaces_of_the_other_nodes_notice_nothing(
    client: testing.TestClient, pool: Pool, owner_url: str, key: dict[str, str]
) -> None:
    """They are written and read; the lost one, and all together, are 503 until the node is back."""
    for workspace_id in (340, 342):
        assert post(client, key, workspace_id, email_sent(1), email_sent(2)).json["accepted"] == 2
        for path in READS:
            assert get(client, key, path, workspace_id).status_code == 200
    many = [email_sent(number) for number in range(300)]
    for events in ([email_sent(1)], many):
        refused = post(client, key, 341, *events)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    for path in READS:
        for workspace in (341, "ALL"):
            refused = get(client, key, path, workspace)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1"), path
    stand_in.lose(owner_url)
    assert post(client, key, 341, email_sent(1)).json["accepted"] == 1
    for path in READS:
        assert get(client, key, path, "ALL").status_code == 200
    assert len(log(pool, 341)) == len(worked_example()) + 1


@pytest.mark.parametrize("anew", [True, False])
def test_workspaces_of_the_other_nodes_are_projected(  # noqa: PLR0913 (fixtures)
    pool: Pool,
    owner_url: str,
    key: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    anew: bool,  # noqa: FBT001
) -> None:
    """One by one, also by a projector that begins meanwhile; once the node is back, the lost one catches up."""
    del key
    monkeypatch.setattr(lagging, "LIST_AGAIN_SECONDS", 0.0)
    stand_in.lose(owner_url)
    known = Projector(pool)
    for workspace_id in (340, 341, 342):
        record(pool, workspace_id, email_sent(1))
    while known.step():
        pass
    for workspace_id in (340, 341, 342):
        record(pool, workspace_id, email_sent(2))
    stand_in.lose(owner_url, 341)
    stop = Event()
    running = Projector(pool, on_poll=stop.set) if anew else known
    if anew:
        running.run(stop)
    else:
        assert running.step()
    assert positions(owner_url) == {340: 15, 341: 14, 342: 15}
    assert not running.step()
    stand_in.lose(owner_url)
    assert running.step()
    assert positions(owner_url) == {340: 15, 341: 15, 342: 15}
    warnings = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    begins = [each for each in warnings if each.startswith("workspaces are projected one by one")]
    assert len(begins) == 1
    assert warnings.count("all nodes of the database answer again") == 1
    assert warnings.count("workspace 341 goes on") == 1


def positions(url: str) -> dict[int, int]:
    """Return how far each workspace is projected."""
    with database.connect(url) as connection:
        return dict(connection.execute("SELECT workspace_id, position FROM projection").fetchall())


def test_the_service_stays_ready(
    client: testing.TestClient, owner_url: str, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readiness is degraded, and the numbers of reachable nodes are counted on."""
    del key
    monkeypatch.setattr(health, "CACHE_SECONDS", 0.0)
    answer = client.simulate_get("/readyz")
    assert (answer.status_code, answer.json) == (200, {"status": "degraded", "database": "not all nodes answer"})
    assert client.simulate_get("/metrics").status_code == 200
    stand_in.lose(owner_url)
    assert client.simulate_get("/readyz").json == {"status": "ready"}


def test_streams_of_the_other_workspaces_go_on(pool: Pool, key: dict[str, str]) -> None:
    """Who watches the lost one, or all, is known to be without an answer."""
    del key

    async def ask() -> list[object]:
        async def borrow() -> Database:
            return await asyncio.to_thread(open_connection, pool)

        pipeline = Pipeline(borrow, lambda _: None)
        scopes = (Asked(340), Asked(341), Asked(every=True), Asked(), Asked(343))
        try:
            answers = await ask_all(pipeline, [Watched(Credentials(session_user="u-1"), each) for each in scopes])
        finally:
            pipeline.close()
        return [each and each.open(lambda _: None) for each in answers]

    one, lost, together, current, foreign = asyncio.run(ask())
    assert isinstance(one, list)
    assert [each.workspace_id for each in one] == [340]
    assert (lost, together) == (None, None)
    assert current == one
    assert foreign is None


def open_connection(pool: Pool) -> Database:
    """Return a connection as the service opens it."""
    return database.connect(str(pool.conninfo))


def test_all_workspaces_are_an_error_of_the_database_however_often_one_connection_asks(
    pool: Pool, key: dict[str, str]
) -> None:
    """What was prepared behind a statement that fails is not prepared, and no later request stumbles over that."""
    prefix, _, secret = key["X-API-Key"].partition(".")
    credentials = Credentials(prefix=prefix, secret_sha256=secret_sha256(secret))
    with pool.connection() as connection:
        for _ in range(6):  # a statement is prepared at its sixth execution, and each of these executes it three times
            with pytest.raises(OperationalError, match="connection to the remote node"):
                look(connection, credentials, Asked(every=True))
