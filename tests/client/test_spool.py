"""The spool stores events in order, within its bound, and raises what is wrong with its file."""

import json
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from campaign_analytics_client import Client, SpoolDamagedError, SpoolError, SpoolFullError
from campaign_analytics_client.commits import _Ticket
from campaign_analytics_client.rows import Refusal
from campaign_analytics_client.salvage import salvage
from campaign_analytics_client.spool import Spool

from tests.client.dummy import Dummy
from tests.client.spooled import bodies, ids, python_path, sending
from tests.support.waiting import wait_for

LIMIT_SECONDS = 60.0
NOWHERE = "http://127.0.0.1:1"
KIB = 1024
LARGE = {"type": "EmailSent", "campaign_id": 1, "prospect_id": "p", "variant": "x" * 10_000}


def test_a_full_spool_refuses_a_call_clearly_and_takes_events_again_once_it_is_sent(spool: Path, server: Dummy) -> None:
    with closing(Client(NOWHERE, "k.s", 340, spool, max_bytes=256 * KIB)) as client:
        event_ids = []
        with pytest.raises(SpoolFullError, match=r"is full: .*; \d+ events wait to be sent and 0 are dead letters"):
            while True:
                event_ids.append(client.send(LARGE))
        assert len(event_ids) > 10
        with pytest.raises(SpoolFullError):
            client.send_many([LARGE, LARGE])
        assert client.stats().pending == len(event_ids)
        assert spool.stat().st_size <= 256 * KIB
        client.close(timeout=0)
    with Client(server.url, "k.s", 340, spool, max_bytes=256 * KIB) as client:
        assert client.flush(LIMIT_SECONDS)
        event_ids += client.send_many([LARGE] * 10)
        assert client.flush(LIMIT_SECONDS)
    assert server.taken == event_ids


def test_what_is_too_much_for_all_that_share_a_commit_may_fit_for_some(spool: Path) -> None:
    client = Client(NOWHERE, "k.s", 340, spool, max_bytes=128 * KIB)
    commits = client._commits
    small, large = _Ticket([b"{}"]), _Ticket([b"x" * 1024 * KIB])
    commits._commit([large, small])
    assert isinstance(large.error, SpoolFullError)
    assert small.error is None
    assert client.stats().pending == 1
    client.close(timeout=0)


LIMITED = """
import resource, signal, sys
from campaign_analytics_client import Client, SpoolError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
client = Client("http://127.0.0.1:1", "k.s", 340, sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
event = {"type": "EmailSent", "campaign_id": 1, "prospect_id": "p", "variant": "x" * 10_000}
try:
    while True:
        print(client.send(event), flush=True)
except SpoolError as error:
    print(error, file=sys.stderr, flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(client.send(event), flush=True)
client.close(timeout=0)
"""


@pytest.mark.processes
@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY, reason="a limit is set")
def test_a_write_that_the_disk_refuses_fails_its_call_and_nothing_else(spool: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(spool)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=python_path(),
    )
    assert done.returncode == 0, done.stderr
    assert f"the spool {spool} " in done.stderr
    returned = done.stdout.split()
    assert len(returned) > 5
    with closing(Spool(spool)) as opened:
        rows = opened.first(10_000, 10**9)
    assert all(event_id.encode() in row.body for event_id, row in zip(returned, rows, strict=True))


def test_what_leaves_and_what_is_refused_is_settled_together(spool: Path) -> None:
    with closing(Spool(spool, workspace_id=340)) as opened:
        opened.append(bodies(1, 2, 3, 4))
        rows = opened.first(3, 10**9)
        opened.settle(rows, [Refusal(rows[1].number, "conflict", "x" * 10_000)])
        assert [row.body for row in opened.first(9, 10**9)] == bodies(4)
        [letter] = opened.dead()
        assert (letter.number, letter.code, letter.event["id"], len(letter.error)) == (2, "conflict", "e-2", 500)
        assert opened.content()[:3] == (1, 4, 1)
        assert opened.revive(2)
        assert [row.body for row in opened.first(9, 10**9)] == bodies(4, 2)
        assert opened.content()[:3] == (2, 4, 0)


def test_numbers_are_never_given_again(spool: Path) -> None:
    for number in (1, 2, 3):
        with closing(Spool(spool, workspace_id=340)) as opened:
            opened.append(bodies(number))
            [row] = opened.first(9, 10**9)
            assert row.number == opened.last() == number
            opened.settle([row], [])
            assert opened.content().first is None


def test_a_batch_is_bounded_by_bytes_but_never_empty(spool: Path) -> None:
    with closing(Spool(spool, workspace_id=340)) as opened:
        opened.append(bodies(1, 2, 3))
        size = len(bodies(1)[0])
        assert len(opened.first(9, 2 * size)) == 2
        assert len(opened.first(9, 1)) == 1
        assert [row.number for row in opened.first(9, 10**9, after=1)] == [2, 3]


def test_a_spool_belongs_to_one_workspace(spool: Path) -> None:
    Client(NOWHERE, "k.s", 340, spool).close(timeout=0)
    with pytest.raises(SpoolError, match="belongs to workspace 340, not 341"):
        Client(NOWHERE, "k.s", 341, spool)


def test_the_log_beside_the_file_is_written_back(spool: Path) -> None:
    with closing(Spool(spool, workspace_id=340)) as opened:
        body = bodies(1)[0][:-1] + b" " * 60_000 + b"}"
        for _ in range(40):
            opened.append([body] * 20)
        log = spool.with_name("spool-wal").stat().st_size
        assert log < 30 * KIB * KIB < spool.stat().st_size + log


@pytest.mark.parametrize(
    "content", [b"this is no database" * 500, b"SQLite format 3\0" + b"\xff" * 5_000], ids=["text", "damaged"]
)
def test_a_file_that_is_no_spool_is_named_and_left_as_it_is(spool: Path, content: bytes) -> None:
    spool.write_bytes(content)
    with pytest.raises(SpoolDamagedError, match=f"{spool} is damaged: .*; it is left as it is"):
        Client(NOWHERE, "k.s", 340, spool)
    assert spool.read_bytes() == content


def test_another_database_is_no_spool(spool: Path) -> None:
    with closing(sqlite3.connect(spool)) as database:
        database.execute("CREATE TABLE precious (value)")
    with pytest.raises(SpoolDamagedError, match="is a database, but no spool"):
        Client(NOWHERE, "k.s", 340, spool)


def test_a_place_where_no_file_can_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="there/spool can't be used"):
        Client(NOWHERE, "k.s", 340, tmp_path / "not" / "there" / "spool")


def test_an_event_that_is_no_longer_what_was_written_is_set_aside_and_the_others_are_sent(
    spool: Path, server: Dummy
) -> None:
    with sending(spool, server.url, 1, 2, 3) as sender:
        with closing(sqlite3.connect(spool)) as database:
            damaged = bodies(2)[0].replace(b'"p"', b'"q"')
            database.execute("UPDATE event SET body = ? WHERE number = 2", (damaged,))
            database.commit()
        sender.step()
    assert server.taken == ids(1, 3)
    with closing(Spool(spool)) as opened:
        assert [(letter.number, letter.code) for letter in opened.dead()] == [(2, "damaged")]
        assert not opened.revive(2), "it would be sent as something that nobody has told"
        assert opened.revive(2, bodies(2)[0])


def test_a_body_that_has_become_text_breaks_no_other_letter(spool: Path, server: Dummy) -> None:
    """One bit in a file decides whether it is bytes or text."""
    with sending(spool, server.url, 1, 2, 3) as sender:
        with closing(sqlite3.connect(spool)) as database:
            database.execute("UPDATE event SET body = CAST(body AS TEXT) WHERE number = 2")
            database.commit()
        sender.step()
    with closing(Spool(spool)) as opened:
        assert [(letter.code, letter.body) for letter in opened.dead()] == [("damaged", bodies(2)[0])]
        assert opened.letter(2) == opened.dead()[0]


def test_damage_within_the_file_stops_the_sender_with_an_error(spool: Path, server: Dummy) -> None:
    with closing(Spool(spool, workspace_id=340)) as opened:
        for first in range(0, 2_000, 100):
            opened.append(bodies(*range(first, first + 100)))
        page = 4_096
    content = bytearray(spool.read_bytes())
    whole = bytes(content)
    place = whole.index(b'"e-1500"') // page * page
    content[place : place + page] = b"\xff" * page
    spool.write_bytes(content)
    with closing(Client(server.url, "k.s", 340, spool)) as client:
        wait_for(lambda: client.stats().state == "halted", LIMIT_SECONDS)
        assert "is damaged" in client.stats().reason
        assert client.stats().pending > 0
        client.close(timeout=0)
    # What was before the damage has been sent, in order, and nothing that is readable has left the file unsent.
    assert server.taken == ids(*range(len(server.taken)))
    assert len(server.taken) >= 1_000
    with closing(Spool(spool)) as opened:
        assert opened.content().first == len(server.taken) + 1
        rest = range(len(server.taken), 2_000)
        with closing(Spool(spool.with_name("new"), workspace_id=340)) as new:
            saved = salvage(opened, new)
            salvaged = [json.loads(row.body)["id"] for row in new.first(10_000, 10**9)]
    lost = [number for first, last in saved.lost for number in range(first - 1, last)]
    assert 1_500 in lost
    assert len(lost) < 50
    assert salvaged == ids(*(number for number in rest if number not in lost))
    assert saved.events == len(salvaged)
