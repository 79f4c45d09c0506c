"""Shows that metrics have what an operator would act on, and that measuring it delays no request."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st

from api import exposition, health
from api.app import create_app
from api.auth import published_keys
from api.counts import FIRST_WORKER, Counts
from api.dependencies import Parts
from api.sampling import Sampler
from api.telemetry import Measurements
from domain.access import Access
from domain.events import Code
from domain.recorder import Pool
from projections import health as database_health
from projections.building.status import Lag
from projections.health import TABLES, clock_ahead
from service import database, settings
from service.web.application import make_parts
from tests.support.databases import connected
from tests.support.examples import JWT_SECRET, api_key, email_sent
from tests.support.published import Platform, platform
from tests.support.samples import read_samples
from tests.support.waiting import wait_for

POSTS = "/api/v1/events/"
OURS = "campaign_analytics_"
END_ALL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
INSTANTS = st.floats(0, 2e9)


def samples(client: testing.TestClient) -> dict[str, float]:
    """Return what Prometheus reads, without the common part of its names."""
    result = client.simulate_get("/metrics")
    assert result.status_code == 200
    return {name.removeprefix(OURS): value for name, value in read_samples(result.text).items()}


def of(counts: Counts) -> dict[str, float]:
    """Return the metrics of a tree of processes whose database is away."""
    metrics = read_samples(exposition.text(counts, is_up=False).decode())
    return {name.removeprefix(OURS): value for name, value in metrics.items()}


def test_rejections_are_counted_by_their_code(client: testing.TestClient, users: Access) -> None:
    """Each code is there from the start; together they are the rejected events."""
    key = api_key(users, 340)
    codes = [f'rejections_total{{code="{code}"}}' for code in get_args(Code)]
    metrics = samples(client)
    assert [metrics[code] for code in codes] == [0] * len(codes)
    events = [
        email_sent(1),
        email_sent(1, step=2),  # a conflict
        email_sent(2, step=-1),
        email_sent(3, occurred_at="2999-01-01T00:00:00Z"),
        {**email_sent(4), "type": "Unheard"},
        7,
    ]
    client.simulate_post(f"{POSTS}?workspace_id=340", headers=key, json=events)
    metrics = samples(client)
    assert {code: metrics[code] for code in codes if metrics[code]} == {
        f'rejections_total{{code="{code}"}}': 1
        for code in ("conflict", "invalid_field", "out_of_range", "unknown_type", "malformed")
    }
    assert metrics['events_total{outcome="rejected"}'] == 5


@pytest.mark.parametrize("events", [3, 300])
def test_commits_are_counted_with_their_events(client: testing.TestClient, users: Access, events: int) -> None:
    """Of small posts, which may share one, and of large ones."""
    key = api_key(users, 340)
    for first in (0, events):
        body = [email_sent(number) for number in range(first, first + events)]
        assert client.simulate_post(f"{POSTS}?workspace_id=340", headers=key, json=body).status_code == 200
    metrics = samples(client)
    assert (metrics["append_events_count"], metrics["append_events_sum"], metrics["append_posts_total"]) == (
        2,
        2 * events,
        2,
    )
    assert metrics[f'append_events_bucket{{le="{5.0 if events == 3 else 500.0}"}}'] == 2
    assert metrics['append_events_bucket{le="2.0"}'] == 0


@given(sent_at=INSTANTS, took=st.floats(0, 5), way=st.floats(0, 1), ahead=st.floats(-1e6, 1e6))
def test_the_measured_offset_of_a_clock_is_within_the_round_trip(
    sent_at: float, took: float, way: float, ahead: float
) -> None:
    """What the way to the database and back may account for is no fault of a clock."""
    measured = clock_ahead(sent_at, sent_at + took, sent_at + way * took - ahead)
    assert abs(measured) <= abs(ahead) + 1e-6
    assert abs(measured - ahead) <= took + 1e-6
    assert measured * ahead >= 0


def test_metrics_have_the_offset_of_the_clock_and_whether_the_database_is_writable(client: testing.TestClient) -> None:
    """Of the tests' own database, which is on this machine."""
    metrics = samples(client)
    assert abs(metrics["clock_ahead_seconds"]) < 1
    assert metrics["database_writable"] == 1


def test_metrics_have_the_offset_of_a_wrong_clock(client: testing.TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """By how much, on which side."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 90)
    assert samples(client)["clock_ahead_seconds"] == pytest.approx(90, abs=2)


def test_a_read_only_database_is_seen_as_not_writable(pool: Pool) -> None:
    """As a provider makes it when its disk is nearly full."""
    with connected(pool) as connection:
        assert database_health.state(connection).writable
        connection.execute("SET default_transaction_read_only = on")
        assert not database_health.state(connection).writable


def test_metrics_have_the_size_of_each_table(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """Of the service's own tables, and of no other in the same database."""
    api_key(users, 340)
    with pool.connection() as connection:
        rows = connection.execute("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'").fetchall()
        connection.execute("CREATE TABLE somebody_elses (id integer)")
    assert sorted(name for (name,) in rows) == sorted(TABLES)
    sizes = {name: size for name, size in samples(client).items() if name.startswith("table_bytes")}
    assert sorted(sizes) == [f'table_bytes{{table="{name}"}}' for name in sorted(TABLES)]
    assert sizes['table_bytes{table="stored_events"}'] > 8_192


def test_a_locked_table_delays_no_scrape(
    client: testing.TestClient, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sizes of the last scrape stay."""
    before = samples(client)
    monkeypatch.setattr(health, "SIZES_SECONDS", 0)
    with connected(pool) as connection, connection.transaction():
        connection.execute("LOCK TABLE hook IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        metrics = samples(client)
        assert time.monotonic() - began < 2
    assert metrics["database_up"] == 1
    assert {name for name in before if "table" in name} == {name for name in metrics if "table" in name}


def test_no_series_vanishes_while_the_database_is_away(
    client: testing.TestClient, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end its alert just when that is needed."""
    monkeypatch.setattr(health, "CACHE_SECONDS", 0)
    before = samples(client)
    with pool.connection() as connection:
        connection.execute(END_ALL)
    pool.close()
    metrics = samples(client)
    assert (before["database_up"], metrics["database_up"]) == (1, 0)
    assert before.keys() <= metrics.keys()


def test_all_processes_of_a_tree_share_their_metrics() -> None:
    """Also one that has started since, and when that one has ended."""
    counts = Counts(slots=8)
    one, _ = Measurements(counts, FIRST_WORKER), Measurements(counts, FIRST_WORKER + 1)
    one.lag_seen(Lag(5, *[0] * (len(Lag._fields) - 1)))
    one.state_seen(3.5, writable=False)
    one.sizes_seen({"journey": 8_192})
    for _ in range(2):
        metrics = of(counts)
        assert metrics["projection_lag_events"] == 5
        assert (metrics["clock_ahead_seconds"], metrics["database_writable"]) == (3.5, 0)
        assert metrics['table_bytes{table="journey"}'] == 8_192
        counts.fold(FIRST_WORKER)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """Give a platform that publishes nothing yet, and is asked without a limit."""
    monkeypatch.setattr(published_keys, "PAUSE_SECONDS", 0)
    with platform() as made:
        yield made


def test_metrics_count_fetches_of_published_keys_and_have_their_age(pool: Pool, away: Platform) -> None:
    """By what came of them; keys that were never fetched are infinitely old."""
    chosen = settings.from_environment({"JWT_JWKS_URL": away.url})
    parts = make_parts(pool, chosen, {})
    client = testing.TestClient(create_app(parts))
    assert chosen.sessions is not None
    keys = chosen.sessions.keys
    assert isinstance(keys, published_keys.PublishedKeys)
    fetches = [f'session_keys_fetches_total{{outcome="{outcome}"}}' for outcome in ("fetched", "failed", "unusable")]

    def key_metrics() -> list[float]:
        metrics = samples(client)
        return [*(metrics[name] for name in fetches), metrics["session_keys_age_seconds"]]

    assert key_metrics() == [0, 0, 0, float("inf")]
    away.body = b'{"keys": [{"kty": "oct", "kid": "o", "k": "c2VjcmV0"}]}'
    keys.preload()
    away.status = 500
    keys.preload()
    assert key_metrics() == [0, 1, 1, float("inf")]
    away.status = 200
    away.body = (
        b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
    )
    keys.preload()
    *numbers, age = key_metrics()
    assert numbers == [1, 1, 1]
    assert age < 20


def test_a_fixed_key_has_no_age(client: testing.TestClient) -> None:
    """And nothing is fetched."""
    assert not [name for name in samples(client) if name.startswith("session_keys")]


def test_metrics_have_the_free_space_for_replays(
    client: testing.TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of TMPDIR, without a file made there; a directory that is not there stops nothing."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    metrics = samples(client)
    system = os.statvfs(tmp_path)
    assert metrics["temporary_size_bytes"] == system.f_blocks * system.f_frsize
    assert 0 < metrics["temporary_free_bytes"] < metrics["temporary_size_bytes"]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    assert not [name for name in samples(client) if name.startswith("temporary")]


def parts_of(database_url: str, size: int) -> Parts:
    """Return the parts of an application with a pool of this size."""
    return make_parts(
        database.open_pool(database_url, size=size), settings.from_environment({"JWT_SECRET": JWT_SECRET}), {}
    )


def test_metrics_have_the_queues_and_the_pool(database_url: str) -> None:
    """The length of each queue, the size of the pool, and that a request had to wait for a connection."""
    parts = parts_of(database_url, 1)
    sampler = Sampler(parts)

    def queue_metrics() -> dict[str, float]:
        sampler.sample()
        return of(parts.measurements.counts)

    def borrow() -> None:
        with parts.connection():
            pass

    with parts.pool, ThreadPoolExecutor(1) as executor:
        parts.pool.wait()
        before = queue_metrics()
        queues = ("append", "position", "read", "thread")
        assert [before[f'queue_length{{queue="{name}"}}'] for name in queues] == [0] * 4
        assert (before["pool_size"], before["pool_connections"], before["pool_failures_total"]) == (1, 0, 0)
        waits = before["pool_waits_total"]
        with parts.pool.connection():
            waiting = executor.submit(borrow)
            wait_for(lambda: queue_metrics()["pool_waits_total"] > waits)
            assert not waiting.done()
            assert queue_metrics()["pool_connections"] == 1
        waiting.result()
        after = queue_metrics()
        assert after["pool_connections"] == 0
        assert after["pool_waits_total"] == waits + 1
        assert after["pool_wait_seconds_total"] >= before["pool_wait_seconds_total"]
    parts.close()


def test_what_can_not_be_measured_stops_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once, and once more when it is over."""
    parts = parts_of(database_url, 1)
    sampler = Sampler(parts)
    with parts.pool, monkeypatch.context() as broken:
        broken.setattr(type(parts.threads), "waiting", None)
        broken.setattr(parts.measurements, "sampled", None)
        for _ in range(3):
            sampler.sample()
        broken.undo()
        sampler.sample()
    parts.close()
    assert [each.levelname for each in caplog.records] == ["ERROR", "WARNING"]
