"""Shows that a small post is answered without Falcon as the resource would answer it, whatever is odd about it."""

import json
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest
from falcon import testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.app import create_app
from api.ingest import lanes, small_posts
from api.ingest.events import Events
from api.ingest.sender import MAX_SMALL_BYTES
from domain.access import Access
from domain.recorder import Pool
from projections import access
from service import database
from service import settings as service_settings
from service.clock import clock
from service.web.application import make_parts
from tests.support.databases import Databases
from tests.support.examples import JWT_SECRET, api_key, email_sent, session
from tests.support.stored_events import log


def retraction(name: str, retracted: str) -> dict[str, Any]:
    """Return the event that retracts another one."""
    return {**email_sent(1), "id": name, "type": "EventRetracted", "retracts": {"id": retracted}}


PATH = "/api/v1/events/"
QUERY = "workspace_id=340"
HEADERS: list[dict[str, str]] = [
    *[{}] * 4,
    {"Content-Type": "application/json; charset=utf-8"},
    {"Content-Type": "application/json; charset=latin-1"},
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/x-ndjson"},
    {"Content-Type": "application/cloudevents+json"},
    {"ce-specversion": "1.0", "ce-id": "c-1", "ce-source": "s", "ce-type": "EmailSent"},
    {"Content-Encoding": "gzip"},
    {"Content-Encoding": "identity"},
    {"X-Request-ID": "mine"},
    {"X-Request-ID": "not valid!"},
    {"X-API-Key": "no key"},
    {"X-API-Key": ""},
    {"X-API-Key": "ca_0123456789abcdef.wrong"},
    {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    session("u-1"),
    {"Accept": "text/csv", "Accept-Encoding": "gzip", "If-None-Match": "*"},
]
QUERIES = [
    *[QUERY] * 6,
    *("workspace_id=341", "workspace_id=777", "workspace_id=ALL", "workspace_id=0340", "", "workspace_id=340&x=1"),
    *("workspace_id=340&workspace_id=340", "workspace_id=%33%34%30", "workspace_id=\xff"),
]
PATHS = [*[PATH] * 4, PATH.rstrip("/"), f"{PATH}rejections/"]
EVENTS: list[Any] = [
    *(email_sent(number) for number in range(6)),
    email_sent(1, step=9),
    email_sent(7, campaign_key="crm:a", campaign_id=None),
    email_sent(8, occurred_at="2999-01-01T00:00:00Z"),
    email_sent(9, stepp=1),
    retraction("r-1", "e-1"),
    retraction("r-2", "r-1"),
    *("x", None, 5),
]
BODIES = st.one_of(
    st.sampled_from(EVENTS).map(json.dumps),
    st.lists(st.sampled_from(EVENTS), max_size=4).map(json.dumps),
    st.lists(st.sampled_from(EVENTS), max_size=3).map(lambda events: json.dumps({"events": events})),
    st.sampled_from(["", "{", "[]", "{}", "\ufeff" + json.dumps(email_sent(11)), '{"id":"a","id":"b"}', " " * 20_000]),
    st.integers(149, 151).map(lambda number: json.dumps([email_sent(each) for each in range(number)])),
    st.just(json.dumps([email_sent(each, sender_id="s" * 100) for each in range(100)])),  # small in number alone
)
POSTS = st.tuples(st.sampled_from(PATHS), st.sampled_from(QUERIES), st.sampled_from(HEADERS), BODIES)


class Shown(NamedTuple):
    """What is seen of a request: its answer, and what is logged of it."""

    status: int
    headers: dict[str, str]
    body: str
    logged: list[dict[str, Any]]


class Application:
    """An application around a database of its own, and a key that may write to one of its workspaces."""

    def __init__(self, client: testing.TestClient, pool: Pool) -> None:
        """Take the client; issue the key."""
        self.users = Access(pool, access.project, clock)
        self.key = api_key(self.users, 340, scopes=("write",))
        self.pool = pool
        self._client = client

    def post(self, path: str, query: str, headers: dict[str, str], body: str) -> Shown:
        """Make a request; return what is seen of it, without what differs each time."""
        lines, handler = list[dict[str, Any]](), logging.Handler()
        handler.emit = lambda record: lines.append(vars(record))  # type: ignore[method-assign]
        logger = logging.getLogger("access")
        logger.addHandler(handler)
        try:
            sent = {"Content-Type": "application/json", **self.key, **headers}
            answer = self._client.simulate_post(path, query_string=query, headers=sent, body=body.encode())
        finally:
            logger.removeHandler(handler)
        received = dict(answer.headers)
        assert len(lines) == 1
        assert lines[0]["request_id"] == received["x-request-id"]
        if headers.get("X-Request-ID") != "mine":
            del received["x-request-id"]
        names = ("method", "route", "status", "user", "workspace", "reason", "traceparent")
        logged = {name: lines[0][name] for name in names if name in lines[0]}
        return Shown(answer.status_code, received, answer.text, [{**logged, "key": "key" in lines[0]}])


def small(event: Any) -> tuple[str, str, dict[str, str], str]:
    """Return a small post of one event, with nothing odd."""
    return PATH, QUERY, {}, json.dumps(event)


@pytest.fixture
def usual(client: testing.TestClient, pool: Pool, caplog: pytest.LogCaptureFixture) -> Application:
    """Give an application as it is served, and log its requests as long as the test runs."""
    caplog.set_level(logging.INFO, "access")
    return Application(client, pool)


@pytest.fixture
def plain(databases: Databases) -> Iterator[Application]:
    """Give one to which no post is small: it is not known that a body has come as a whole."""
    chosen = service_settings.from_environment({"JWT_SECRET": JWT_SECRET, "DATABASE_URL": "postgresql://unused"})
    with databases.lend() as url, database.open_pool(url, size=20) as pool:
        yield Application(testing.TestClient(create_app(make_parts(pool, chosen, {}))), pool)


def test_whatever_is_odd_about_a_post_it_is_answered_as_by_the_resource(usual: Application, plain: Application) -> None:
    """One oddity after the other, each with a writer who is known."""
    usually = small(email_sent(1))
    posts = [usually, usually]
    posts += [(path, *usually[1:]) for path in PATHS]
    posts += [(PATH, query, *usually[2:]) for query in QUERIES]
    posts += [(PATH, QUERY, headers, usually[-1]) for headers in HEADERS]
    posts += [small(event) for event in EVENTS]
    for each in posts:
        assert usual.post(*each) == plain.post(*each), each
    assert log(usual.pool) == log(plain.pool)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(posts=st.lists(POSTS, min_size=1, max_size=6))
def test_every_post_is_answered_and_logged_as_the_resource_does(
    usual: Application, plain: Application, posts: list[tuple[str, str, dict[str, str], str]]
) -> None:
    """Whatever comes before it; and the same is stored."""
    for each in posts:
        assert usual.post(*each) == plain.post(*each)
    assert log(usual.pool) == log(plain.pool)


def test_a_small_post_of_a_known_writer_needs_no_resource(usual: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first post of a key makes it known; another key, or an odd post, still needs the resource."""

    async def fail(*_: object) -> None:
        raise AssertionError

    post = small(email_sent(1))
    assert usual.post(*post).status == 200
    monkeypatch.setattr(Events, "_record_small", fail)
    assert json.loads(usual.post(*post).body)["duplicates"] == 1
    new_key = email_sent(3, campaign_key="crm:new", campaign_id=None)  # which is to be registered
    for odd in (email_sent(2), email_sent(9, stepp=1)), (retraction("r-1", "e-1"),), (new_key,):
        assert usual.post(PATH, QUERY, {}, json.dumps(odd)).status == 500
    assert usual.post(PATH, QUERY, api_key(usual.users, 340, scopes=("write",)), post[-1]).status == 500


def test_a_link_or_a_key_that_has_gone_counts_from_the_next_post(usual: Application) -> None:
    """The append itself asks; nothing is stored."""
    for number in (1, 2):
        assert usual.post(*small(email_sent(number))).status == 200
    usual.users.unlink("u-1", 340, "cli:test")
    assert usual.post(*small(email_sent(3))).status == 403
    usual.users.link("u-1", 340, "cli:test")
    assert usual.post(*small(email_sent(4))).status == 200
    with usual.pool.connection() as connection:
        for change in ("scopes = '{read}'", "scopes = '{write}', expires_at = 1"):
            connection.execute(f"UPDATE api_key SET {change}")
            assert usual.post(*small(email_sent(5))).status in (401, 403)
        connection.execute("UPDATE api_key SET expires_at = NULL")
    assert usual.post(*small(email_sent(6))).status == 200
    usual.users.revoke_key("u-1", usual.key["X-API-Key"].split(".")[0], "cli:test")
    assert usual.post(*small(email_sent(5))).status == 401
    assert log(usual.pool) == ["e-1", "e-2", "e-4", "e-6"]


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (psycopg.OperationalError("away"), 503, "The database does not answer, please try again"),
        (lanes.QueueTimeoutError(), 503, "Too many posts to this workspace wait, please try again"),
        (KeyError("secret"), 500, "Internal error"),
    ],
)
def test_a_failure_is_answered_by_the_table_of_errors(
    usual: Application, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, text: str
) -> None:
    """With nothing of its text, and without a second try."""
    tries = []

    async def fail(*_: object) -> None:
        tries.append(1)
        raise error

    post = small(email_sent(1))
    assert usual.post(*post).status == 200
    monkeypatch.setattr(lanes.Lanes, "record", fail)
    shown = usual.post(*post)
    assert (shown.status, json.loads(shown.body)["error"]) == (status, text)
    assert "secret" not in shown.body
    assert tries == [1]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b"{}", "more_body": True},
        {"type": "http.request", "body": b" " * (MAX_SMALL_BYTES + 1)},
    ],
)
def test_a_body_that_is_not_whole_or_not_small_is_left_to_the_resource(message: dict[str, Any]) -> None:
    """It gets what was received as if nobody had looked."""
    with pytest.raises(small_posts._OddError):
        small_posts._small_body_of(message)
