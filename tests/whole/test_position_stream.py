"""Shows that a stream sends the positions of workspaces as they move, and ends with the access that it began with."""

import http.client
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.databases import Databases
from tests.support.examples import api_key, email_sent, session
from tests.support.running import Service, serving, users_of
from tests.support.waiting import wait_for

STREAM = "/api/v1/dashboard/campaign-analytics/stream/"
GONE_SECONDS = 5.0
pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    """Give a database for all tests of this module."""
    with databases.lend() as made:
        yield made


@pytest.fixture(scope="module")
def service(url: str) -> Iterator[Service]:
    """Give a service of one process."""
    with serving(url) as running:
        yield running


class Stream:
    """An open stream, read message by message."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        """Take the response whose head has come."""
        self.response = response

    def message(self) -> tuple[str, Any]:
        """Wait for the next event that is not a comment; return its name and its data; ("", None) at the end."""
        name, data = "", None
        while True:
            line = self.response.readline()
            if not line:
                return "", None
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data = json.loads(value)
            elif not field and name:
                return name, data

    def until(self, position: int) -> dict[str, Any]:
        """Wait until the stream has sent this position."""
        while True:
            name, data = self.message()
            assert name == "position", (name, data)
            if data["position"] >= position:
                event: dict[str, Any] = data
                return event


@contextmanager
def opened(service: Service, headers: dict[str, str], query: str = "") -> Iterator[Stream]:
    """Open a stream."""
    parts = urlsplit(service.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request("GET", f"{STREAM}{query}", headers=headers)
        response = connection.getresponse()
        assert response.status == 200, service.output
        assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream")
        yield Stream(response)
    finally:
        connection.close()


def test_a_stream_sends_the_position_of_a_workspace_and_its_changes(service: Service, url: str) -> None:
    """At once, and as soon as a post has been projected; every process that projects or answers is the real one."""
    with users_of(url) as users:
        key = api_key(users, 11, user="moves")
    with opened(service, key, "?workspace_id=11") as stream:
        name, first = stream.message()
        assert list(first) == ["workspace_id", "epoch", "generation", "position", "head"]
        assert (name, first["workspace_id"], first["position"], first["head"]) == ("position", 11, 0, 0)
        assert service.post(11, key, email_sent(1), email_sent(2)).json["position"] == 2
        began = time.monotonic()
        position = stream.until(2)
        assert time.monotonic() - began < 2
        assert (position["workspace_id"], position["head"]) == (11, 2)


def test_many_moves_are_at_most_four_messages_a_second(service: Service, url: str) -> None:
    """Whatever is posted meanwhile, and the last message has the last position."""
    with users_of(url) as users:
        key = api_key(users, 12, user="busy")
    with opened(service, key, "?workspace_id=12") as stream:
        stream.message()
        began = time.monotonic()
        for number in range(60):
            service.post(12, key, email_sent(number))
        messages = 0
        while True:
            messages += 1
            if stream.message()[1]["position"] == 60:
                break
        assert messages <= 4 * (time.monotonic() - began) + 1


def test_all_workspaces_of_a_user_come_by_one_stream(service: Service, url: str) -> None:
    """Each as it moves, and no other's."""
    with users_of(url) as users:
        key, other = api_key(users, 13, 14, user="all"), api_key(users, 15, user="other")
    with opened(service, session("all"), "?workspace_id=ALL") as stream:
        assert [stream.message()[1]["workspace_id"] for _ in range(2)] == [13, 14]
        service.post(15, other, email_sent(1))
        service.post(14, key, email_sent(1))
        assert stream.until(1)["workspace_id"] == 14


@pytest.mark.parametrize("way", ["unlink", "revoke", "expire", "one of all"])
def test_a_stream_ends_with_the_access_to_what_it_tells(service: Service, url: str, way: str) -> None:
    """Within five seconds, and with a word."""
    workspace = {"unlink": 21, "revoke": 22, "expire": 23, "one of all": 24}[way]
    user = f"ends-{workspace}"
    with users_of(url) as users:
        headers = api_key(users, workspace, 25, user=user)
        if way == "expire":
            headers = session(user, exp=int(time.time()) - 8)  # the leeway is 10 s
        query = "?workspace_id=ALL" if way == "one of all" else f"?workspace_id={workspace}"
        with opened(service, headers, query) as stream:
            assert stream.message()[0] == "position"
            if way == "revoke":
                users.revoke_key(user, headers["X-API-Key"].partition(".")[0], "cli:test")
            elif way != "expire":
                users.unlink(user, workspace, "cli:test")
            began = time.monotonic()
            name, data = stream.message()
            while name == "position":
                name, data = stream.message()
            assert time.monotonic() - began < GONE_SECONDS + 2 * (way == "expire")
            texts = {"revoke": "Invalid API key", "expire": "Session expired"}
            assert (name, data) == ("end", {"error": texts.get(way, "Access denied")})
            assert stream.message() == ("", None)


@pytest.mark.parametrize(
    ("who", "query", "status"),
    [
        ("", "", 401),
        ("unknown key", "?workspace_id=11", 401),
        ("nobody", "?workspace_id=11", 403),
        ("nobody", "?workspace_id=0", 400),
        ("nobody", "?min_position=1", 400),
    ],
)
def test_who_may_not_see_gets_no_stream(service: Service, who: str, query: str, status: int) -> None:
    """The same errors as everywhere."""
    headers: dict[str, dict[str, str]] = {"": {}, "unknown key": {"X-API-Key": "ca_x.y"}, "nobody": session("nobody")}
    assert service.request("GET", f"{STREAM}{query}", headers[who]).status == status


def test_a_head_of_it_has_no_body(service: Service, url: str) -> None:
    """And leaves no stream behind."""
    with users_of(url) as users:
        key = api_key(users, 16, user="head")
    answer = service.request("HEAD", f"{STREAM}?workspace_id=16", key)
    assert (answer.status, answer.body) == (200, b"")


def test_a_service_that_is_stopped_ends_its_streams_at_once(database_url: str) -> None:
    """Without a word that access has gone, so that readers come again."""
    with serving(database_url) as service:
        with users_of(database_url) as users:
            key = api_key(users, 1)
        with opened(service, key, "?workspace_id=1") as stream:
            stream.message()
            began = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            assert stream.message() == ("", None)
            assert time.monotonic() - began < 3
        wait_for(lambda: service.process.poll() is not None)
        assert service.process.returncode == 0
