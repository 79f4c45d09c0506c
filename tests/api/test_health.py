"""Shows the answers to probes and Prometheus, and that they have no id of a user, a key or a workspace."""

import re
from typing import Any

import pytest
from falcon import testing

from api import health
from domain import ledger
from domain.access import Access
from domain.recorder import Pool
from service import database
from tests.support.examples import api_key, email_sent, parsed
from tests.support.read_models import project_all
from tests.support.samples import read_samples

POSTS = "/api/v1/events/"
END_ALL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
DASHBOARD = "/api/v1/dashboard/campaign-analytics/"


def execute(pool: Pool, statement: str) -> None:
    """Run a statement."""
    with pool.connection() as database:
        database.execute(statement.encode())


def record(pool: Pool, workspace_id: int, *numbers: int) -> None:
    """Record e-mails, and do not project them."""
    with pool.connection() as database:
        ledger.record(database, workspace_id, parsed(*(email_sent(number) for number in numbers)))


def samples(client: testing.TestClient) -> dict[str, float]:
    """Return what Prometheus reads: each sample's name with its labels, and its value."""
    result = client.simulate_get("/metrics")
    assert result.status_code == 200
    assert result.headers["content-type"].startswith("text/plain; version=0.0.4")
    return read_samples(result.text)


@pytest.mark.parametrize("path", ["/healthz", "/healthz/"])
def test_liveness_needs_no_database(client: testing.TestClient, pool: Pool, path: str) -> None:
    """A database that is away must not get every process killed."""
    pool.close()
    assert client.simulate_get(path).status_code == 200


@pytest.mark.parametrize("path", ["/readyz", "/readyz/"])
def test_a_service_that_keeps_up_is_ready(client: testing.TestClient, pool: Pool, path: str) -> None:
    """An empty log, or one that lags for less than a minute, is no trouble."""
    record(pool, 340, 1)
    result = client.simulate_get(path)
    assert (result.status_code, result.json) == (200, {"status": "ready"})


@pytest.mark.parametrize(("seconds", "status"), [(55, "ready"), (75, "degraded")])
def test_a_projection_that_lags_by_a_minute_is_degraded(
    client: testing.TestClient, pool: Pool, seconds: int, status: str
) -> None:
    """It stays 200, and counts from the oldest event that is not projected yet."""
    record(pool, 340, 1)
    execute(pool, "UPDATE stored_events SET recorded_at = now() - interval '1 hour'")
    project_all(pool)
    record(pool, 340, 2)
    execute(pool, f"UPDATE stored_events SET recorded_at = now() - interval '{seconds} s' WHERE position = 2")
    result = client.simulate_get("/readyz")
    assert (result.status_code, result.json["status"]) == (200, status)
    if status == "degraded":
        assert list(result.json) == ["status", "stuck", "lag_seconds"]
        assert result.json["stuck"] == 0
        assert seconds <= result.json["lag_seconds"] < seconds + 60


def test_a_stuck_workspace_is_counted_and_not_named(client: testing.TestClient, pool: Pool) -> None:
    """A stuck workspace stops no other, and the answer has no id of it."""
    record(pool, 348_111, 1)
    record(pool, 348_222, 1)
    execute(pool, "UPDATE stored_events SET topic = 'domain.events:Unknown' WHERE workspace_id = 348111")
    project_all(pool)
    result = client.simulate_get("/readyz")
    assert (result.status_code, result.json) == (200, {"status": "degraded", "stuck": 1, "lag_seconds": 0})
    metrics = samples(client)
    assert metrics["campaign_analytics_projection_stuck"] == 1
    assert metrics["campaign_analytics_projection_lag_events"] == 1
    assert metrics["campaign_analytics_projection_lag_seconds"] > 0


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("DELETE FROM migration", "the database is older than this version: run migrate"),
        ("DELETE FROM migration WHERE version = 1", "the database is older than this version: run migrate"),
        ("INSERT INTO migration VALUES (9999, now())", "the database is newer"),
        ("INSERT INTO migration VALUES (9999, now(), 9998)", "the database is newer"),
        (
            "ALTER TABLE migration DROP COLUMN works_with; INSERT INTO migration VALUES (9999, now())",
            "the database is newer",
        ),
        ("DROP TABLE migration", "the database is older than this version: run migrate"),
    ],
)
def test_another_schema_is_not_ready(client: testing.TestClient, pool: Pool, statement: str, error: str) -> None:
    """The load balancer gets 503, and the operator the reason."""
    execute(pool, statement)
    result = client.simulate_get("/readyz")
    assert (result.status_code, result.json, result.headers["retry-after"]) == (503, {"error": error}, "1")


def test_a_newer_schema_that_was_declared_to_work_with_this_version_is_degraded(
    client: testing.TestClient, pool: Pool
) -> None:
    """So that during a rolling upgrade, and on the way back, the older processes go on."""
    known = max(database.known())
    execute(pool, f"INSERT INTO migration VALUES (9998, now(), {known}), (9999, now(), {known - 1})")
    result = client.simulate_get("/readyz")
    assert (result.status_code, result.json) == (
        200,
        {"status": "degraded", "stuck": 0, "lag_seconds": 0, "schema": "newer"},
    )


def test_a_database_that_an_earlier_version_has_migrated_is_ready(client: testing.TestClient, pool: Pool) -> None:
    """Its table of migrations has no data about which programs work with it."""
    execute(pool, "ALTER TABLE migration DROP COLUMN works_with")
    assert client.simulate_get("/readyz").json == {"status": "ready"}


def test_a_full_disk_is_logged_and_counted(
    client: testing.TestClient, users: Access, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no outage: what is stored can be read. It is logged when it begins and when it ends."""
    key = api_key(users, 340)
    execute(pool, "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$")
    execute(pool, "CREATE TRIGGER full_disk BEFORE INSERT ON stored_events FOR EACH ROW EXECUTE FUNCTION full_disk()")
    for body in (email_sent(1), {"events": [email_sent(number) for number in range(500)]}):
        result = client.simulate_post(POSTS, headers=key, json=body, query_string="workspace_id=340")
        assert (result.status_code, result.headers["retry-after"]) == (503, "1")
        assert result.json == {"error": "Nothing can be written now: the database's disk is full"}
    assert samples(client)["campaign_analytics_disk_full_total"] == 2
    execute(pool, "DROP TRIGGER full_disk ON stored_events")
    client.simulate_post(POSTS, headers=key, json=email_sent(1), query_string="workspace_id=340")
    logged = [(each.levelname, each.message.partition(":")[0]) for each in caplog.records if each.levelno > 20]
    assert logged == [
        ("ERROR", "nothing can be recorded, the database's disk is full"),
        ("WARNING", "recording goes on"),
    ]


def test_a_database_that_is_away_is_not_ready(client: testing.TestClient, pool: Pool) -> None:
    """That too is a 503, and the measurements of the process itself go on without it."""
    pool.close()
    assert client.simulate_get("/readyz").status_code == 503
    metrics = samples(client)
    assert metrics['campaign_analytics_http_requests_total{method="GET",route="/readyz",status="503"}'] == 1
    assert "campaign_analytics_projection_lag_events" not in metrics


def test_the_database_is_asked_once_a_second(
    client: testing.TestClient, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who measures in between is not made to wait for it again, one after another, also where it is away."""
    looks = []
    look = health.Probe._look

    async def counted(probe: health.Probe) -> Any:
        looks.append(1)
        return await look(probe)

    monkeypatch.setattr(health.Probe, "_look", counted)
    monkeypatch.setattr(health, "CACHE_SECONDS", 60)
    pool.close()
    for _ in range(3):
        assert client.simulate_get("/readyz").status_code == 503
        assert samples(client)["campaign_analytics_database_up"] == 0
    assert len(looks) == 1


def test_the_metrics_of_the_projection_stay_while_the_database_is_away(
    client: testing.TestClient, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A series that vanishes ends its alert just when it is needed."""
    monkeypatch.setattr(health, "CACHE_SECONDS", 0)
    record(pool, 340, 1)
    metrics = samples(client)
    assert (metrics["campaign_analytics_database_up"], metrics["campaign_analytics_projection_lag_events"]) == (1, 1)
    execute(pool, END_ALL)
    pool.close()
    metrics = samples(client)
    assert (metrics["campaign_analytics_database_up"], metrics["campaign_analytics_projection_lag_events"]) == (0, 1)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
@pytest.mark.parametrize("query", ["verbose=1", "workspace_id=340", "x"])
def test_an_unknown_parameter_is_refused_by_name(client: testing.TestClient, path: str, query: str) -> None:
    """None of them takes any."""
    result = client.simulate_get(path, query_string=query)
    assert (result.status_code, [each["field"] for each in result.json["details"]]) == (
        400,
        [query.split("=", maxsplit=1)[0]],
    )


def test_events_are_counted_by_their_outcome(client: testing.TestClient, users: Access) -> None:
    """Accepted, duplicate and rejected are there from the start, and rejects that are not listed count too."""
    key = api_key(users, 340)

    def counted() -> list[float]:
        metrics = samples(client)
        outcomes = ("accepted", "duplicate", "rejected")
        return [metrics[f'campaign_analytics_events_total{{outcome="{outcome}"}}'] for outcome in outcomes]

    assert counted() == [0, 0, 0]
    bodies = ([email_sent(1), email_sent(2)], [email_sent(1), email_sent(3), email_sent(2, step=1)], [None] * 1_500)
    for events in bodies:
        client.simulate_post(f"{POSTS}?workspace_id=340", headers=key, json={"events": events})
    assert counted() == [3, 1, 1_501]


def test_requests_are_counted_by_route_and_status(client: testing.TestClient, users: Access) -> None:
    """Routes, not paths, so that no caller can make new series; how long they took is there as well."""
    key = api_key(users, 340)
    for path in (DASHBOARD, DASHBOARD.rstrip("/"), "/a", "/b"):
        client.simulate_get(path, headers=key)
    client.simulate_get(DASHBOARD)
    client.simulate_delete(DASHBOARD)
    metrics = samples(client)
    route = 'route="/api/v1/dashboard/campaign-analytics"'
    requests = "campaign_analytics_http_requests_total"
    assert metrics[f'{requests}{{method="GET",{route},status="200"}}'] == 2
    assert metrics[f'{requests}{{method="GET",{route},status="401"}}'] == 1
    assert metrics[f'{requests}{{method="DELETE",{route},status="405"}}'] == 1
    assert metrics[f'{requests}{{method="GET",route="none",status="404"}}'] == 2
    assert metrics[f'campaign_analytics_http_request_seconds_count{{method="GET",{route}}}'] == 3


def test_the_lag_is_measured(client: testing.TestClient, pool: Pool) -> None:
    """In events over all workspaces, and in seconds of the one that waits longest; the users' own log is none."""
    execute(pool, "INSERT INTO log_head VALUES (0, 50)")
    record(pool, 340, 1, 2)
    record(pool, 341, 1)
    execute(pool, "UPDATE stored_events SET recorded_at = now() - interval '30 s' WHERE workspace_id = 341")
    metrics = samples(client)
    assert metrics["campaign_analytics_projection_lag_events"] == 3
    assert 30 <= metrics["campaign_analytics_projection_lag_seconds"] < 60
    assert metrics["campaign_analytics_projection_stuck"] == 0


def test_no_label_names_a_user_or_a_workspace(client: testing.TestClient, users: Access) -> None:
    """Labels are of our own making: no workspace, no user, no key, nothing that a caller sent."""
    key = api_key(users, 348_333, user="somebody")
    client.simulate_post(POSTS, headers=key, json=email_sent(1), query_string="workspace_id=348333")
    client.simulate_get(DASHBOARD, headers=key, query_string="workspace_id=348333")
    client.simulate_get("/348333/somebody", headers={"X-Request-ID": "sent-by-a-caller"})
    metrics = samples(client)
    assert all(name.startswith("campaign_analytics_") for name in metrics)
    labels = {label for name in metrics for label in re.findall(r'(\w+)="', name)}
    ours = {"method", "route", "status", "outcome", "le", "version", "child", "process", "code", "queue", "table"}
    assert labels == ours
    text = client.simulate_get("/metrics").text
    for identifier in ("348333", "somebody", "sent-by-a-caller", key["X-API-Key"].partition(".")[0]):
        assert identifier not in text
