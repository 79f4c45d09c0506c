"""Shows that events come as lines and packed too, of any length, and that what breaks off says what is committed."""

import asyncio
import gzip
import json
import zlib
from contextlib import suppress
from dataclasses import replace
from itertools import count, pairwise
from typing import Any

import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st

import api.ingest.events
import api.ingest.formats
from api.app import create_app
from api.http import bodies
from api.ingest import ndjson
from domain.access import Access
from domain.recorder import Pool
from service import settings
from service.clock import clock
from service.web.application import make_parts
from tests.support.examples import JWT_SECRET, api_key, email_sent
from tests.support.running import exchange, serving, users_of
from tests.support.stored_events import log

PATH = "/api/v1/events/?workspace_id=340"
LINES = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}
PACKED = {"Content-Encoding": "gzip"}


@pytest.fixture
def key(users: Access) -> dict[str, str]:
    """Give the header of a key that may write to workspace 340."""
    return api_key(users, 340)


def line(number: int, **fields: Any) -> bytes:
    """Return an event as a line."""
    return json.dumps(email_sent(number, **fields)).encode() + b"\n"


def post(client: testing.TestClient, headers: dict[str, str], body: bytes) -> testing.Result:
    """Post a body."""
    return client.simulate_post(PATH, headers=headers, body=body)


@given(
    st.lists(st.binary(max_size=20).map(lambda text: text.replace(b"\n", b"")), max_size=8),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_lines_are_the_same_however_the_bytes_come(texts: list[bytes], cuts: list[int]) -> None:
    """Blank ones are skipped and counted, an end of CRLF is as good as LF, and the last line needs none."""
    body = b"\xef\xbb\xbf" + b"\n".join(texts)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[begin:end] for begin, end in pairwise(edges)]
    expected = [(number, text) for number, text in enumerate(texts, 1) if text.strip(b" \t\r")]
    assert list(ndjson.lines(pieces)) == expected


@pytest.mark.parametrize("step", [1_000, 65_536, 1_000_000])
def test_a_line_that_is_too_long_costs_only_itself(step: int) -> None:
    """And is not gathered in memory."""
    most = b"x" * ndjson.MAX_LINE_BYTES
    body = (
        b"\xef\xbb\xbf"
        + most
        + b"\na\n"
        + most
        + b"\r\n"
        + most
        + b"x\nb\n"
        + b"y" * 500_000
        + b"\nc\n"
        + b"z" * 500_000
    )
    pieces = [body[begin : begin + step] for begin in range(0, len(body), step)]
    assert [text for _, text in ndjson.lines(pieces)] == [most, b"a", most + b"\r", None, b"b", None, b"c", None]


@pytest.mark.parametrize("packed", [False, True])
def test_lines_are_events(client: testing.TestClient, pool: Pool, key: dict[str, str], packed: bool) -> None:  # noqa: FBT001
    """Counted over the lines that are not blank; a bad one costs only itself, and all others are stored."""
    long = b'{"id": "' + b"x" * 70_000 + b'"}\n'
    body = (
        b"\n"
        + line(1)
        + b"  \r\n"
        + b"{nonsense\n"
        + line(1)
        + long
        + b"[]\n"
        + line(2).replace(b"\n", b"\r\n")
        + b"\xff"
    )
    sent = gzip.compress(body) if packed else body
    answer = post(client, {**key, **LINES, **(PACKED if packed else {})}, sent)
    assert answer.status_code == 207
    assert (answer.json["accepted"], answer.json["duplicates"], answer.json["position"]) == (2, 1, 2)
    assert [(each["index"], each["id"], each["code"]) for each in answer.json["rejected"]] == [
        (1, None, "malformed"),
        (3, None, "too_large"),
        (4, None, "malformed"),
        (6, None, "malformed"),
    ]
    assert log(pool) == ["e-1", "e-2"]


@pytest.mark.parametrize("body", [b"", b"\n \n"])
def test_no_lines_are_no_events(client: testing.TestClient, key: dict[str, str], body: bytes) -> None:
    """As an empty list is fine."""
    answer = post(client, {**key, **LINES}, body)
    assert answer.json == {"workspace_id": 340, "accepted": 0, "duplicates": 0, "rejected": [], "position": 0}


def test_a_long_stream_is_committed_in_parts_and_counted_as_one(
    client: testing.TestClient, pool: Pool, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any number of lines; the index goes on from part to part."""
    monkeypatch.setattr(api.ingest.formats, "LINES_AT_ONCE", 7)
    body = b"".join(line(number) for number in range(50)) + b"x\n" + line(50)
    answer = post(client, {**key, **LINES}, body)
    assert (answer.json["accepted"], [each["index"] for each in answer.json["rejected"]]) == (51, [50])
    assert len(log(pool)) == 51


@pytest.mark.parametrize("members", [1, 3])
def test_json_comes_packed_too(client: testing.TestClient, pool: Pool, key: dict[str, str], members: int) -> None:
    """In one member of gzip or in several."""
    body = json.dumps({"events": [email_sent(number) for number in range(200)]}).encode()
    size = len(body) // members + 1
    packed = b"".join(gzip.compress(body[begin : begin + size]) for begin in range(0, len(body), size))
    assert post(client, {**key, **JSON, **PACKED}, packed).json["accepted"] == 200
    assert len(log(pool)) == 200


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"nonsense", "is not gzip"),
        (gzip.compress(line(1))[:-4], "is cut short"),
        (gzip.compress(line(1)) + b"rest", "is not gzip"),
        (zlib.compress(line(1)), "is not gzip"),
        (gzip.compress(line(1))[:-8] + b"\0" * 8, "is not gzip"),
    ],
)
def test_what_does_not_unpack_is_a_400(
    client: testing.TestClient, pool: Pool, key: dict[str, str], body: bytes, error: str
) -> None:
    """Never a 200 over a damaged body; of JSON nothing is stored."""
    answer = post(client, {**key, **JSON, **PACKED}, body)
    assert (answer.status_code, answer.json["details"]) == (400, [{"field": "body", "error": error}])
    assert log(pool) == []


def test_what_unpacks_to_too_much_is_a_413(
    client: testing.TestClient, pool: Pool, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small body must not fill the memory; of lines, what is committed by then is counted."""
    bomb = gzip.compress(b" " * 50_000_000)
    assert post(client, {**key, **JSON, **PACKED}, bomb).status_code == 413
    monkeypatch.setattr(api.ingest.formats, "MAX_UNPACKED_BYTES", 1_000_000)
    monkeypatch.setattr(api.ingest.formats, "LINES_AT_ONCE", 5)
    stream = gzip.compress(b"".join(line(number) for number in range(7)) + b" " * 50_000_000)
    answer = post(client, {**key, **LINES, **PACKED}, stream)
    assert (answer.status_code, answer.json["accepted"], answer.json["position"]) == (413, 5, 5)
    assert answer.json["error"].startswith("Expected")
    assert len(log(pool)) == 5


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"\n", "Expected at most 10000 blank lines more than events"),
        (b" \t\r\n", "Expected at most 10000 blank lines more than events"),
        (b"x\n", "Expected at most 10000 rejected events more than others; send the rest once it is right"),
        (b"{}\n", "Expected at most 10000 rejected events more than others; send the rest once it is right"),
    ],
)
def test_too_many_lines_without_an_event_end_a_stream(  # noqa: PLR0913 (a row of the table)
    client: testing.TestClient,
    pool: Pool,
    key: dict[str, str],
    text: bytes,
    error: str,
    packed: bool,  # noqa: FBT001
) -> None:
    """A million of them are 2 KB when packed; the answer comes soon and counts what was committed before."""
    good = b"".join(line(number) for number in range(api.ingest.formats.LINES_AT_ONCE))
    body = good + text * 1_000_000
    answer = post(client, {**key, **LINES, **(PACKED if packed else {})}, gzip.compress(body) if packed else body)
    assert (answer.status_code, answer.json["accepted"], answer.json["position"]) == (413, 5_000, 5_000)
    assert answer.json["error"] == error or (packed and "200 times smaller" in answer.json["error"])
    assert answer.json.get("rejected_total", 0) < 25_000
    assert len(answer.json["rejected"]) <= 1_000
    assert len(log(pool)) == 5_000


@pytest.mark.parametrize("between", [b"\n", b"x\n"])
def test_a_stream_may_have_as_many_lines_without_an_event_as_events(
    client: testing.TestClient, key: dict[str, str], between: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no honest stream is too long, however long it is."""
    monkeypatch.setattr(api.ingest.formats, "MOST_BLANK", 2)
    monkeypatch.setattr(api.ingest.events, "MOST_REJECTED", 2)
    monkeypatch.setattr(api.ingest.formats, "LINES_AT_ONCE", 4)
    answer = post(client, {**key, **LINES}, b"".join(line(number) + between for number in range(100)))
    assert (answer.status_code, answer.json["accepted"]) == (200 if between == b"\n" else 207, 100)


@pytest.mark.parametrize("kind", [LINES, JSON])
def test_a_body_is_not_packed_too_well(client: testing.TestClient, key: dict[str, str], kind: dict[str, str]) -> None:
    """No worker sends a body that unpacks to a thousand times its size; many events are fine."""
    bomb = gzip.compress(line(1) + b" " * 3_000_000)
    answer = post(client, {**key, **kind, **PACKED}, bomb)
    assert (answer.status_code, "at most 200 times smaller" in answer.json["error"]) == (413, True)
    alike = [email_sent(number, source="s" * 256, sender_id="x" * 128, variant="v" * 64) for number in range(7_000)]
    events = b"".join(json.dumps(each).encode() + b"\n" for each in alike)
    if kind is JSON:
        events = json.dumps(alike).encode()
    assert post(client, {**key, **kind, **PACKED}, gzip.compress(events, 9)).json["accepted"] == 7_000


def test_a_stream_may_not_work_for_ever(
    client: testing.TestClient, pool: Pool, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer counts what is committed by then; the rest can be sent in another request."""
    monkeypatch.setattr(api.ingest.events, "WORK_SECONDS", 0.0)
    monkeypatch.setattr(api.ingest.formats, "LINES_AT_ONCE", 5)
    answer = post(client, {**key, **LINES}, b"".join(line(number) for number in range(50)))
    assert (answer.status_code, answer.json["accepted"], answer.json["position"]) == (413, 5, 5)
    assert "send the rest in another one" in answer.json["error"]
    assert len(log(pool)) == 5


def test_long_lines_share_a_transaction_by_their_bytes(
    client: testing.TestClient, pool: Pool, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """5,000 lines of 64 KiB are too much to keep in memory."""
    assert api.ingest.formats.BYTES_AT_ONCE == 5 * 1024 * 1024
    monkeypatch.setattr(api.ingest.formats, "BYTES_AT_ONCE", 100_000)
    sizes: list[int] = []
    part_of_lines = api.ingest.formats.part_of_lines

    def counted(lines: list[ndjson.Line]) -> api.ingest.formats.Part:
        sizes.append(len(lines))
        return part_of_lines(lines)

    monkeypatch.setattr(api.ingest.formats, "part_of_lines", counted)
    body = b"".join(line(number).rstrip() + b" " * 60_000 + b"\n" for number in range(5))
    assert post(client, {**key, **LINES}, body).json["accepted"] == 5
    assert sizes == [2, 2, 1]
    assert len(log(pool)) == 5


def test_who_has_gone_is_worked_for_no_longer(monkeypatch: pytest.MonkeyPatch, pool: Pool, key: dict[str, str]) -> None:
    """The part that a thread is at work on is finished; what follows is not begun."""
    monkeypatch.setattr(api.ingest.formats, "LINES_AT_ONCE", 5)
    parts = make_parts(pool, settings.from_environment({"JWT_SECRET": JWT_SECRET}), {})
    app = create_app(parts)
    lines = b"".join(line(number) for number in range(5_000))
    headers = {**key, **LINES, **PACKED}
    scope = testing.create_scope("/api/v1/events/", method="POST", query_string="workspace_id=340", headers=headers)
    come: list[dict[str, Any]] = [{"type": "http.request", "body": gzip.compress(lines), "more_body": False}]

    async def receive() -> dict[str, Any]:
        return come.pop() if come else await asyncio.get_running_loop().create_future()

    async def send(_: dict[str, Any]) -> None:
        raise AssertionError

    async def ask_and_go() -> None:
        task = asyncio.ensure_future(app(scope, receive, send))
        while not await asyncio.to_thread(log, pool):
            pass
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await asyncio.to_thread(parts.threads.close)

    asyncio.run(ask_and_go())
    assert 0 < len(log(pool)) < 5_000


def test_a_stream_that_falls_silent_is_a_408_with_the_counts(
    monkeypatch: pytest.MonkeyPatch, pool: Pool, key: dict[str, str]
) -> None:
    """After ten seconds without a byte; the answer counts what was committed before, which stays."""
    assert bodies.BODY_SECONDS == 10
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(api.ingest.formats, "LINES_AT_ONCE", 5)
    app = create_app(make_parts(pool, settings.from_environment({"JWT_SECRET": JWT_SECRET}), {}))
    headers = {**key, **LINES}
    scope = testing.create_scope("/api/v1/events/", method="POST", query_string="workspace_id=340", headers=headers)
    come = [{"type": "http.request", "body": b"".join(line(each) for each in range(7)), "more_body": True}]
    answered: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return come.pop() if come else await asyncio.get_running_loop().create_future()

    async def send(event: dict[str, Any]) -> None:
        answered.append(event)

    asyncio.run(app(scope, receive, send))
    body = json.loads(answered[1]["body"])
    assert (answered[0]["status"], body["accepted"], body["position"]) == (408, 5, 5)
    assert len(log(pool)) == 5


def test_lines_are_named_by_number_too(client: testing.TestClient, key: dict[str, str]) -> None:
    """From 1, blank ones counted, as an editor shows them; `index` counts the events alone."""
    body = b"\xef\xbb\xbf" + line(1) + b"\n\r\n" + b"x\n" + line(1, step=5) + b'{"type": "EmailSent", "a": 1, "a": 2}'
    answer = post(client, {**key, **LINES}, body)
    assert answer.json["accepted"] == 1
    assert [(each["index"], each["line"], each["code"]) for each in answer.json["rejected"]] == [
        (1, 4, "malformed"),
        (2, 5, "conflict"),
        (3, 6, "malformed"),
    ]
    assert answer.json["rejected"][2]["error"] == 'line: has the name "a" twice in one object'
    assert "line" not in post(client, {**key, **JSON}, b"[5]").json["rejected"][0]


def test_a_mark_in_the_middle_is_named(client: testing.TestClient, key: dict[str, str]) -> None:
    """As two files have one that were written after each other."""
    answer = post(client, {**key, **LINES}, b"\xef\xbb\xbf" + line(1) + b"\xef\xbb\xbf" + line(2))
    assert answer.json["accepted"] == 1
    assert "byte order mark (BOM)" in answer.json["rejected"][0]["error"]


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_another_packing_is_a_415(client: testing.TestClient, key: dict[str, str], encoding: str) -> None:
    """It says which is taken."""
    answer = post(client, {**key, **LINES, "Content-Encoding": encoding}, line(1))
    assert (answer.status_code, answer.json) == (415, {"error": "Expected Content-Encoding: gzip, or none"})


@pytest.mark.processes
def test_the_answer_to_a_broken_stream_counts_what_is_committed(database_url: str) -> None:
    """Through a real server, by length and in chunks: 400 with the counts, and what was committed stays."""
    with users_of(database_url) as users, serving(database_url) as service:
        key = api_key(users, 340)["X-API-Key"]
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-API-Key: {key}\r\n"
            "Content-Type: application/x-ndjson\r\n"
        )
        lines = b"".join(line(number) for number in range(api.ingest.formats.LINES_AT_ONCE + 1_000))
        by_length = f"{head}Content-Length: {len(lines) + 5}\r\n\r\n".encode() + lines
        in_chunks = f"{head}Transfer-Encoding: chunked\r\n\r\n{len(lines):x}\r\n".encode() + lines + b"\r\n5\r\n"
        for sent, accepted, duplicates in ((by_length, 5_000, 0), (in_chunks, 0, 5_000)):
            answer = exchange(service.port, sent)
            body = json.loads(answer.partition(b"\r\n\r\n")[2])
            assert answer.startswith(b"HTTP/1.1 400 "), answer[:100]
            assert body["details"] == [{"field": "body", "error": "is cut short"}]
            assert (body["accepted"], body["duplicates"], body["position"]) == (accepted, duplicates, 5_000)
        answer = exchange(service.port, f"{head}Content-Length: 1000\r\n\r\n".encode() + line(1))
        body = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert (body["accepted"], body["duplicates"], body["position"]) == (0, 0, 5_000)
        chunks = (lines[begin : begin + 10_000] for begin in range(0, len(lines), 10_000))
        whole = service.request("POST", PATH, {"X-API-Key": key, **LINES}, chunks)
        assert (whole.status, whole.json["accepted"], whole.json["duplicates"]) == (200, 1_000, 5_000)


def test_a_link_that_goes_meanwhile_ends_a_stream(
    monkeypatch: pytest.MonkeyPatch, pool: Pool, users: Access, key: dict[str, str]
) -> None:
    """What was committed before stays, and the answer counts it; nothing more is taken: each append asks again."""
    monkeypatch.setattr(api.ingest.formats, "LINES_AT_ONCE", 2)
    parts = make_parts(pool, settings.from_environment({"JWT_SECRET": JWT_SECRET}), {})
    calls = count()

    def clock_and_unlink() -> int:
        """Tell the time, as each batch asks for it when it is parsed and when it is appended."""
        if next(calls) == 2:
            users.unlink("u-1", 340, "cli:test")
        return clock()

    client = testing.TestClient(create_app(replace(parts, clock=clock_and_unlink)))
    result = post(client, {**key, **LINES}, b"".join(line(number) for number in range(6)))
    assert result.status_code == 403
    assert result.json == {
        "error": "Access denied",
        "workspace_id": 340,
        "accepted": 2,
        "duplicates": 0,
        "rejected": [],
        "position": 2,
    }
    assert len(log(pool)) == 2


def test_a_database_that_goes_away_in_the_middle_of_a_stream_is_a_503_with_the_counts(
    monkeypatch: pytest.MonkeyPatch, pool: Pool, key: dict[str, str]
) -> None:
    """The answer counts what was committed before and is never a 200; the same events can be sent again."""
    monkeypatch.setattr(api.ingest.formats, "LINES_AT_ONCE", 2)
    parts = make_parts(pool, settings.from_environment({"JWT_SECRET": JWT_SECRET}), {})
    calls = count()

    def clock_and_close() -> int:
        """Tell the time, as each batch asks for it when it is parsed and when it is appended."""
        if next(calls) == 2:
            pool.close()
        return clock()

    client = testing.TestClient(create_app(replace(parts, clock=clock_and_close)))
    result = post(client, {**key, **LINES}, b"".join(line(number) for number in range(6)))
    assert (result.status_code, result.headers["retry-after"]) == (503, "1")
    assert (result.json["accepted"], result.json["position"]) == (2, 2)
    assert result.json["error"] == "The database does not answer, please try again"
