"""What the client makes of a server that is away, slow, full, or refuses: nothing is lost, nothing changes places."""

import json
import logging
import os
import ssl
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from campaign_analytics_client import Client
from campaign_analytics_client.spool import Spool
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.client import dummy
from tests.client.dummy import Dummy, Reply, answer, taken
from tests.client.spooled import EVENT, bodies, ids, sending
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_SECONDS = 60.0


def pending(path: Path) -> int:
    """Return how many events wait."""
    with closing(Spool(path)) as spool:
        return spool.content().pending


def test_events_are_posted_in_order_in_packed_batches(spool: Path, server: Dummy) -> None:
    with Client(server.url, "k.s", 340, spool, batch_events=300) as client:
        sent = client.send_many({**EVENT, "prospect_id": f"p-{number}"} for number in range(1_000))
        sent.append(client.email_sent("p", campaign_id=1))
        assert client.flush(LIMIT_SECONDS)
        stats = client.stats()
    assert server.taken == sent
    assert (stats.accepted, stats.pending, stats.dead, stats.failures) == (1_001, 0, 0, 0)
    assert [len(post.events) for post in server.posts][:3] == [300, 300, 300]
    assert server.posts[0].packed
    assert {(post.path, post.key) for post in server.posts} == {("/api/v1/events/?workspace_id=340", "k.s")}


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        (Reply(503, {"error": "Full"}, "7"), 7.0),
        (Reply(429, {"error": "Slow down"}, "120"), 120.0),
        (Reply(503), 0.25),
        (Reply(500, b"<html>"), 0.25),
        (Reply(404, b"<html>"), 0.25),
        (Reply(None), 0.25),
        (Reply(200, b"{}"), 0.25),
        (Reply(200, answer(3)), 0.25),
        (Reply(207, answer(1, {"index": 9, "code": "x", "error": "y"})), 0.25),
    ],
)
def test_what_is_in_doubt_is_sent_again_when_the_server_asks(
    spool: Path, server: Dummy, reply: Reply, seconds: float
) -> None:
    server.script = [reply]
    with sending(spool, server.url, 1, 2) as sender:
        pause = sender.step()
        assert (pause.seconds, pause.until_work) == (seconds, False)
        assert (sender.state, sender.failures, pending(spool)) == ("waiting", 1, 2)
        assert sender.reason
        server.posts.clear()
        assert sender.step().seconds == 0
        assert [each["id"] for each in server.posts[0].events] == ids(1, 2)
        assert (sender.state, pending(spool)) == ("sending", 0)


def test_waits_grow_while_the_server_is_away(spool: Path) -> None:
    with sending(spool, "http://127.0.0.1:1", 1) as sender:
        assert [sender.step().seconds for _ in range(10)] == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]
        assert "no answer" in sender.reason


def test_a_server_that_does_not_answer_in_time_gets_the_same_again(spool: Path, server: Dummy) -> None:
    released = Event()

    def slow(events: list[dict[str, Any]]) -> Reply:
        released.wait(LIMIT_SECONDS)
        return taken(events)

    server.script = [slow]
    with sending(spool, server.url, 1, timeout=0.2) as sender:
        assert sender.step().seconds == 0.25
        assert "no answer" in sender.reason
        released.set()
        wait_for(lambda: server.taken == ids(1))
    with sending(spool, server.url) as sender:
        assert sender.step().seconds == 0
        assert server.taken == ids(1, 1)  # the server counts it once, by its id
        assert pending(spool) == 0


def test_a_connection_that_the_server_has_closed_meanwhile_costs_no_wait(spool: Path, server: Dummy) -> None:
    with sending(spool, server.url, 1, 2, batch_events=1) as sender:
        assert sender.step().seconds == 0
        server.script = [Reply(None)]
        assert sender.step().seconds == 0
        assert sender.failures == 0
    assert server.taken == ids(1, 2)


def test_refused_events_become_dead_letters_and_the_others_are_stored(spool: Path, server: Dummy) -> None:
    refused = {"index": 1, "id": "e-2", "code": "out_of_range", "error": "occurred_at: lies in the future"}
    server.script = [Reply(207, answer(1, refused, duplicates=1))]
    with Client(server.url, "k.s", 340, spool) as client:
        client.send_many(json.loads(body) for body in bodies(1, 2, 3))
        assert client.flush(LIMIT_SECONDS)
        stats = client.stats()
        assert (stats.accepted, stats.duplicates, stats.rejected, stats.dead) == (1, 1, 1, 1)
        [letter] = client.dead()
        assert (letter.code, letter.error) == ("out_of_range", "occurred_at: lies in the future")
        assert letter.event["id"] == "e-2"
        assert client.retry(letter.number, {**letter.event, "occurred_at": "2026-11-01T09:00:00Z"})
        assert not client.retry(letter.number)
        assert client.flush(LIMIT_SECONDS)
        assert client.dead() == []
    assert server.posts[-1].events == [{**letter.event, "occurred_at": "2026-11-01T09:00:00Z"}]
    assert server.taken == ids(1, 3, 2)


def test_a_batch_that_is_refused_whole_is_dead_and_the_next_one_goes_on(spool: Path, server: Dummy) -> None:
    faults = [{"index": place, "id": None, "code": "unknown_type", "error": "type: Emial"} for place in (0, 1)]
    server.script = [Reply(422, answer(0, *faults))]
    with sending(spool, server.url, 1, 2, 3, batch_events=2) as sender:
        assert [sender.step().seconds, sender.step().seconds] == [0, 0]
    with closing(Spool(spool)) as opened:
        assert [letter.event["id"] for letter in opened.dead()] == ids(1, 2)
    assert server.taken == ids(3)


@pytest.mark.parametrize(("status", "code"), [(413, "too_large"), (400, "malformed")])
def test_a_body_that_is_refused_is_split_down_to_the_event_that_is_to_blame(
    spool: Path, server: Dummy, status: int, code: str
) -> None:
    def refuses(events: list[dict[str, Any]]) -> Reply:
        return Reply(status, {"error": "no"}) if any(each["id"] == "e-5" for each in events) else taken(events)

    server.default = refuses
    numbers = range(1, 17)
    with sending(spool, server.url, *numbers, batch_events=8) as sender:
        while pending(spool):
            assert sender.step().seconds == 0
    with closing(Spool(spool)) as opened:
        assert [(letter.event["id"], letter.code) for letter in opened.dead()] == [("e-5", code)]
    assert server.taken == ids(*(number for number in numbers if number != 5))
    assert len(server.posts[-1].events) > 1  # it grows again


@pytest.mark.parametrize("status", [401, 403])
def test_a_sender_without_the_right_to_write_is_halted_until_it_resumes(
    spool: Path, server: Dummy, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.default = Reply(status, {"error": "Access denied"})
    with Client(server.url, "k.s", 340, spool) as client:
        event_id = client.send({**EVENT, "prospect_id": "p"})
        assert not client.flush(LIMIT_SECONDS)
        stats = client.stats()
        assert (stats.state, stats.reason) == ("halted", f"the server answers {status}: Access denied")
        assert (stats.pending, stats.requests) == (1, 1)
        assert [each.levelno for each in caplog.records] == [logging.ERROR]
        assert "k.s" not in caplog.text
        client.send({**EVENT, "prospect_id": "q"})
        server.default = taken
        client.resume()
        assert client.flush(LIMIT_SECONDS)
    assert server.taken[0] == event_id
    assert len(server.taken) == 2


def test_another_process_with_a_good_key_goes_on_where_one_is_halted(spool: Path, server: Dummy) -> None:
    server.default = Reply(401, {"error": "Invalid API key"})
    with sending(spool, server.url, 1) as halted, sending(spool, server.url, 2) as other:
        halted.step()
        assert halted.state == "halted"
        server.default = taken
        assert other.step().seconds == 0
    assert server.taken == ids(1, 2)


def test_one_sends_while_others_stand_by_until_it_ends(spool: Path, server: Dummy) -> None:
    with sending(spool, server.url, 1) as other:
        with sending(spool, server.url, 2) as first:
            first.step()
            assert other.step().seconds > 0
            assert other.state == "standby"
        other.step()
        assert other.state == "idle"
    assert server.taken == ids(1, 2)


WORKER = """
import sys
from campaign_analytics_client import Client
client = Client(sys.argv[1], "k.s", 340, sys.argv[2])
for number in range(200):
    client.email_sent(f"{sys.argv[3]}-{number}", campaign_id=1)
print("sent", flush=True)
sys.stdin.readline()
"""


@pytest.mark.processes
def test_processes_share_a_spool_and_each_keeps_its_order(spool: Path, server: Dummy) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, server.url, str(spool), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "client")},
        )
        for name in ("a", "b", "c")
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"sent\n"
        wait_for(lambda: pending(spool) == 0, LIMIT_SECONDS)
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=30)
    posted = [each["prospect_id"] for post in server.posts for each in post.events]
    for name in ("a", "b", "c"):
        mine = [each for each in posted if each.startswith(f"{name}-")]
        assert mine == [f"{name}-{number}" for number in range(200)]
    assert len(set(server.taken)) == len(server.taken) == 600


def test_closing_does_not_wait_for_a_server_that_hangs(spool: Path, server: Dummy) -> None:
    released, request_came = Event(), Event()

    def hangs(events: list[dict[str, Any]]) -> Reply:
        request_came.set()
        released.wait(LIMIT_SECONDS)
        return taken(events)

    server.default = hangs
    client = Client(server.url, "k.s", 340, spool, timeout=LIMIT_SECONDS)
    client.email_sent("p", campaign_id=1)
    assert request_came.wait(LIMIT_SECONDS)
    client.close(timeout=0.1)
    assert not client._thread.is_alive()
    assert pending(spool) == 1
    released.set()


def test_a_fault_in_the_sender_is_logged_and_shown(
    spool: Path, server: Dummy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> Any:
        raise ZeroDivisionError("a defect")

    with sending(spool, server.url, 1) as sender:
        with monkeypatch.context() as patched:
            patched.setattr(sender._transport, "post", fails)
            sender.step()
        assert (sender.state, sender.reason) == ("halted", "ZeroDivisionError: a defect")
        assert "a defect" in caplog.text
        sender.resume()
        sender.step()
    assert server.taken == ids(1)


def test_nothing_is_sent_twice_or_left_out_however_the_server_fails(spool: Path, server: Dummy) -> None:
    """Every other answer is a failure, with the events stored or not; the ids tell the server what it has."""
    stored: list[str] = []

    def stores(events: list[dict[str, Any]]) -> None:
        stored.extend(each["id"] for each in events if each["id"] not in stored)

    def lost_answer(events: list[dict[str, Any]]) -> Reply:
        stores(events)
        return Reply(None)

    def good(events: list[dict[str, Any]]) -> Reply:
        before = len(stored)
        stores(events)
        return Reply(200, answer(len(stored) - before, duplicates=len(events) - len(stored) + before))

    failures: list[Callable[[list[dict[str, Any]]], Reply] | Reply] = [
        lost_answer, Reply(503), good, Reply(413), good, good, lost_answer, lost_answer, good, Reply(500), good,
    ]  # fmt: skip
    server.script, server.default = list(failures), good
    with sending(spool, server.url, *range(40), batch_events=6) as sender:
        while pending(spool):
            sender.step()
    assert stored == ids(*range(40))


def test_a_server_behind_tls_is_sent_to_only_where_its_certificate_is_trusted(spool: Path, tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(self_signed())
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(certificate)
    with dummy.serving(secure) as server:
        with Client(server.url, "k.s", 340, spool) as client:
            event_id = client.send({**EVENT, "prospect_id": "p"})
            wait_for(lambda: client.stats().state == "waiting", LIMIT_SECONDS)
            assert "CERTIFICATE_VERIFY_FAILED" in client.stats().reason
            client.close(timeout=0)
        assert server.posts == []
        trusting = ssl.create_default_context(cafile=certificate)
        with Client(server.url, "k.s", 340, spool, context=trusting) as client:
            assert client.flush(LIMIT_SECONDS)
        assert server.taken == [event_id]


def self_signed() -> bytes:
    """Return a new key and a certificate for 127.0.0.1, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)
