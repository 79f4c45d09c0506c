"""Shows that no body whatever makes the service stumble: never a 500, never half an event."""

import gzip
import json
from typing import Any, NamedTuple

import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st

from api.ingest import cloudevents, ndjson
from domain import ledger
from domain.access import Access
from domain.events import EVENTS, decode
from domain.recorder import Pool
from tests.support.examples import api_key, email_sent
from tests.support.properties import on_the_database

PATH = "/api/v1/events/?workspace_id=340"
KINDS = ("application/json", ndjson.MEDIA_TYPE, cloudevents.STRUCTURED, cloudevents.BATCH, "text/plain", "")

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["", "\0", "\ud800", "x" * 5_000, "2026-11-01T10:00:00Z", "9999-12-31T23:59:60Z", "1e999", 2**63])
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner))
FIELDS = st.sampled_from(
    ["id", "source", "type", "campaign_id", "prospect_id", "occurred_at", "step", "name", "data", "specversion", "time"]
)
TYPES = st.sampled_from([event.__name__ for event in EVENTS])
EVENTS_ALMOST = st.builds(
    lambda number, kind, changes: {**email_sent(number), "type": kind, **changes},
    st.integers(0, 50),
    TYPES,
    st.dictionaries(FIELDS, VALUES, max_size=2),
)
STRANGE = st.sampled_from(
    [
        b"",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"NaN",
        b'{"id": NaN}',
        b'{"events": [1e999]}',
        b'{"events": [' + b"9" * 5_000 + b"]}",
        b'{"id": "a", "id": "b", "type": "EmailSent"}',
        b"[" * 100_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'"\\ud800"',
        b'{"id": "\\u0000", "type": "\\ud83d"}',
        b'{"events": [' + b"{}," * 10_000 + b"{}]}",
    ]
)


def as_json(value: object) -> bytes:
    """Return this as JSON, also where it is no valid JSON."""
    return json.dumps(value).encode()


BODIES = (
    st.binary(max_size=200)
    | STRANGE
    | VALUES.map(as_json)
    | st.lists(EVENTS_ALMOST | VALUES, max_size=5).map(lambda events: as_json({"events": events}))
    | st.lists(EVENTS_ALMOST | VALUES, max_size=5).map(lambda events: b"\n".join(map(as_json, events)))
    | st.lists(EVENTS_ALMOST, max_size=3).map(
        lambda events: as_json(
            [{**each, "specversion": "1.0", "time": each["occurred_at"], "data": each} for each in events]
        )
    )
    | st.tuples(EVENTS_ALMOST, st.integers(0, 200)).map(lambda cut: as_json(cut[0])[: cut[1]])
)


class Sent(NamedTuple):
    """How a body is sent: as which type, packed how, and with the headers of CloudEvents' binary mode or without."""

    kind: str
    packing: str | None
    binary: bool


@pytest.fixture
def key(users: Access) -> dict[str, str]:
    """Give the header of one key for all examples."""
    return api_key(users, 340)


PACKINGS = st.sampled_from([None, "gzip", "cut", "a lie"])


@on_the_database(300)
@given(BODIES, st.builds(Sent, st.sampled_from(KINDS), PACKINGS, st.booleans()))
def test_any_body_gets_an_answer_that_counts_what_was_stored(
    client: testing.TestClient, pool: Pool, key: dict[str, str], body: bytes, sent: Sent
) -> None:
    """What was accepted is in the log, can be read back, and nothing else is."""
    headers: dict[str, Any] = {**key, "Content-Type": sent.kind}
    if sent.binary:
        headers.update({"ce-specversion": "1.0", "ce-id": "b", "ce-type": "EmailSent", "ce-source": "%FF%00"})
    if sent.packing is not None:
        headers["Content-Encoding"] = "gzip"
        body = body if sent.packing == "a lie" else gzip.compress(body)[: -3 if sent.packing == "cut" else None]
    before = stored(pool)
    answer = client.simulate_post(PATH, headers=headers, body=body)
    assert answer.status_code in (200, 207, 400, 413, 415, 422), answer.text
    after = stored(pool)
    accepted = answer.json.get("accepted", 0)
    assert len(after) == len(before) + accepted
    assert after[: len(before)] == before
    if "position" in answer.json:
        assert answer.json["position"] in (len(after), 0)
    if answer.status_code in (400, 413, 415):
        assert answer.json["error"]


def stored(pool: Pool) -> list[object]:
    """Return the events in the log of workspace 340."""
    with pool.connection() as database:
        rows = ledger.read(database, 340, after=0, upto=2**62, limit=100_000)
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    return [decode(row.topic, row.state) for row in rows]
