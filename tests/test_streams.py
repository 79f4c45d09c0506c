"""Shows that events come as lines and packed too, of any length, and that what breaks off says what is committed."""

import gzip
import json
import zlib
from dataclasses import replace
from itertools import count, pairwise
from typing import Any

import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st

import api.ingest.formats
from api.app import create_app
from api.ingest import ndjson
from domain.access import Access
from domain.recorder import Pool
from service import settings
from service.clock import clock
from service.web.application import make_parts
from tests.facts import JWT_SECRET, api_key, email_sent
from tests.running import exchange, serving, users_of
from tests.test_posting import log

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
    """Blank ones are skipped, an end of CRLF is as good as LF, and the last line needs none."""
    body = b"\n".join(texts)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[begin:end] for begin, end in pairwise(edges)]
    assert [each.text for each in ndjson.lines(pieces)] == [text for text in texts if text.strip(b" \t\r")]


@pytest.mark.parametrize("step", [1_000, 65_536, 1_000_000])
def test_a_line_that_is_too_long_costs_only_itself(step: int) -> None:
    """And is not gathered in memory."""
    most = b"x" * ndjson.MAX_LINE_BYTES
    body = b"a\n" + most + b"\r\n" + most + b"x\nb\n" + b"y" * 500_000 + b"\nc\n" + b"z" * 500_000
    pieces = [body[begin : begin + step] for begin in range(0, len(body), step)]
    assert [each.text for each in ndjson.lines(pieces)] == [b"a", most + b"\r", None, b"b", None, b"c", None]


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


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_another_packing_is_a_415(client: testing.TestClient, key: dict[str, str], encoding: str) -> None:
    """It says which is taken."""
    answer = post(client, {**key, **LINES, "Content-Encoding": encoding}, line(1))
    assert (answer.status_code, answer.json) == (415, {"error": "Expected Content-Encoding: gzip, or none"})


def test_a_stream_that_breaks_off_says_what_is_committed(database_url: str) -> None:
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
            said = json.loads(answer.partition(b"\r\n\r\n")[2])
            assert answer.startswith(b"HTTP/1.1 400 "), answer[:100]
            assert said["details"] == [{"field": "body", "error": "is cut short"}]
            assert (said["accepted"], said["duplicates"], said["position"]) == (accepted, duplicates, 5_000)
        chunks = (lines[begin : begin + 10_000] for begin in range(0, len(lines), 10_000))
        whole = service.request("POST", PATH, {"X-API-Key": key, **LINES}, chunks)
        assert (whole.status, whole.json["accepted"], whole.json["duplicates"]) == (200, 1_000, 5_000)


def test_a_link_that_goes_meanwhile_ends_a_stream(
    monkeypatch: pytest.MonkeyPatch, pool: Pool, users: Access, key: dict[str, str]
) -> None:
    """What was committed before stays, and the answer counts it; nothing more is taken: each append asks again."""
    monkeypatch.setattr(api.ingest.formats, "LINES_AT_ONCE", 2)
    parts = make_parts(pool, settings.from_environment({"JWT_SECRET": JWT_SECRET}), {})
    asked = count()

    def clock_and_unlink() -> int:
        """Tell the time, as each batch asks for it when it is parsed and when it is appended."""
        if next(asked) == 2:
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
    """What was committed before is told, never a 200 over the rest; the same can be sent again."""
    monkeypatch.setattr(api.ingest.formats, "LINES_AT_ONCE", 2)
    parts = make_parts(pool, settings.from_environment({"JWT_SECRET": JWT_SECRET}), {})
    asked = count()

    def clock_and_close() -> int:
        """Tell the time, as each batch asks for it when it is parsed and when it is appended."""
        if next(asked) == 2:
            pool.close()
        return clock()

    client = testing.TestClient(create_app(replace(parts, clock=clock_and_close)))
    result = post(client, {**key, **LINES}, b"".join(line(number) for number in range(6)))
    assert (result.status_code, result.headers["retry-after"]) == (503, "1")
    assert (result.json["accepted"], result.json["position"]) == (2, 2)
    assert result.json["error"] == "The database does not answer, please try again"
