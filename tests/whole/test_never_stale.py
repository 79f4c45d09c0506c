"""Shows that a change of access holds from the very next request, on every worker process."""

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest

from service import cli
from tests.support.examples import api_key, email_sent, session
from tests.support.running import Service, serving, users_of

pytestmark = pytest.mark.processes

REQUESTS = 2_000
CLIENTS = 8


class Answered(NamedTuple):
    """One request: when it began, when its answer was there, and whether it was let in."""

    began: float
    ended: float
    allowed: bool


class Change(NamedTuple):
    """One change: when it was ordered, when that was done, and whether requests are let in from then on."""

    began: float
    ended: float
    allowed: bool


def test_no_request_is_answered_by_an_older_state(database_url: str) -> None:
    """Thousands of requests over two workers, by key and by session, while the link comes and goes."""
    with users_of(database_url) as users, serving(database_url, WEB_CONCURRENCY="2", WEB_THREADS="4") as service:
        key = api_key(users, 340)
        service.post(340, key, email_sent())

        def change(number: int) -> bool:
            linked = number % 2 == 1
            (users.link if linked else users.unlink)("u-1", 340, "cli:test")
            return linked

        answered, changes = race(service, [key, session("u-1")], change)
    assert len(answered) >= REQUESTS
    assert wrong(answered, changes) == []
    decided = [each for each in answered if after(each, changes) is not None]
    assert len(decided) > REQUESTS / 2, "most requests fall between two changes"
    assert {each.allowed for each in decided} == {True, False}


def test_no_revoked_key_is_let_in(database_url: str) -> None:
    """A revocation is seen by every worker from the next request on; nothing lets the key in again."""
    with users_of(database_url) as users, serving(database_url, WEB_CONCURRENCY="2", WEB_THREADS="4") as service:
        key = api_key(users, 340)
        for _ in range(50):
            assert service.dashboard(key, "workspace_id=340").status == 200
        users.revoke_key("u-1", key["X-API-Key"].partition(".")[0], "cli:test")
        assert {service.dashboard(key, "workspace_id=340").status for _ in range(200)} == {401}


@pytest.mark.parametrize("change", ["unlink", "revoke"])
def test_nothing_is_written_after_the_change_though_the_request_had_begun(database_url: str, change: str) -> None:
    """The body comes after the link or the key has gone: the answer is a refusal, and the log stays empty."""
    body = json.dumps(email_sent()).encode()
    with users_of(database_url) as users, serving(database_url) as service:
        key = api_key(users, 340)["X-API-Key"]
        other = api_key(users, 340, user="u-2")
        with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
            head = (
                "POST /api/v1/events/?workspace_id=340 HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-API-Key: "
                f"{key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                "Expect: 100-continue\r\n\r\n"
            )
            connection.sendall(head.encode())
            assert connection.recv(65_536).startswith(b"HTTP/1.1 100 "), "it has been let in"
            if change == "unlink":
                users.unlink("u-1", 340, "cli:test")
            else:
                users.revoke_key("u-1", key.partition(".")[0], "cli:test")
            connection.sendall(body)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 403 " if change == "unlink" else b"HTTP/1.1 401 "), answer
        assert service.dashboard(other, "workspace_id=340").headers["X-Position"] == "0"


def test_the_command_line_works_at_once_too(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same change."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    with users_of(database_url) as users, serving(database_url, WEB_CONCURRENCY="2") as service:
        api_key(users, 341)
        for command, status in (("link", 200), ("unlink", 403)) * 3:
            assert cli.main(["access", command, "u-1", "340"]) == 0
            assert {service.dashboard(session("u-1"), "workspace_id=340").status for _ in range(10)} == {status}


def race(
    service: Service, callers: list[dict[str, str]], change: Callable[[int], bool]
) -> tuple[list[Answered], list[Change]]:
    """Ask and ask while access is changed and changed again; return all that was seen and done."""
    answered: list[Answered] = []
    changes = [Change(0.0, time.monotonic(), allowed=True)]

    def client(number: int) -> None:
        while len(answered) < REQUESTS:
            began = time.monotonic()
            status = service.dashboard(callers[number % len(callers)], "workspace_id=340").status
            assert status in (200, 403)
            answered.append(Answered(began, time.monotonic(), status == 200))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    number = 0
    while any(thread.is_alive() for thread in threads):
        seen = len(answered)
        while len(answered) < min(seen + 40, REQUESTS):  # some requests between two changes
            threads[0].join(0.001)
        began = time.monotonic()
        allowed = change(number)
        changes.append(Change(began, time.monotonic(), allowed))
        number += 1
    return answered, changes


def after(each: Answered, changes: list[Change]) -> Change | None:
    """Return the change that a request has to know of; None where another one overlapped with it."""
    if any(change.ended > each.began and change.began < each.ended for change in changes):
        return None
    return [change for change in changes if change.ended <= each.began][-1]


def wrong(answered: list[Answered], changes: list[Change]) -> list[Answered]:
    """Return the requests that were answered by another state than the one in which they began and ended."""
    decided = [(each, after(each, changes)) for each in answered]
    return [each for each, change in decided if change is not None and each.allowed is not change.allowed]
