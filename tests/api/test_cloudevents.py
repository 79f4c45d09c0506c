"""Shows that CloudEvents 1.0 come in structured, in batches and binary, as the official SDK sends them."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from falcon import testing

from domain import ledger
from domain.access import Access
from domain.recorder import Pool
from tests.support.examples import api_key, parsed
from tests.support.stored_events import log

PATH = "/api/v1/events/?workspace_id=340"
BATCH = "application/cloudevents-batch+json"
DATA = {"campaign_id": 123, "prospect_id": "p-1", "step": 2}
TIME = datetime(2026, 11, 1, 10, 0, 0, 123_000, tzinfo=UTC)
OURS = {"id": "é-1", "source": "//mailer/ä b", "type": "EmailSent", "occurred_at": "2026-11-01T10:00:00.123Z", **DATA}


@pytest.fixture
def key(users: Access) -> dict[str, str]:
    """Give the header of a key that may write to workspace 340."""
    return api_key(users, 340)


def sdk_event(data: Any = None, **attributes: Any) -> CloudEvent:
    """Return an event as a worker makes it with the SDK."""
    required = {"id": OURS["id"], "source": OURS["source"], "type": "com.example.outreach.EmailSent", "time": TIME}
    return CloudEvent({**required, "datacontenttype": "application/json", **attributes}, DATA if data is None else data)


def send(client: testing.TestClient, key: dict[str, str], message: HTTPMessage) -> testing.Result:
    """Post what the SDK made."""
    assert message.body is not None
    return client.simulate_post(PATH, headers={**key, **message.headers}, body=message.body)


def structured(**changes: Any) -> dict[str, Any]:
    """Return an event in JSON as CloudEvents has it; what is changed to None is left out."""
    event = {"specversion": "1.0", "id": "e-1", "source": "/m", "type": "EmailSent", "time": OURS["occurred_at"]}
    return {name: value for name, value in {**event, "data": DATA, **changes}.items() if value is not None}


def post(client: testing.TestClient, key: dict[str, str], kind: str, body: object) -> testing.Result:
    """Post JSON as this type."""
    return client.simulate_post(PATH, headers={**key, "Content-Type": kind}, body=json.dumps(body))


def test_both_modes_of_the_sdk_give_the_same_event(client: testing.TestClient, key: dict[str, str], pool: Pool) -> None:
    """Structured first; binary, a batch and our own JSON are duplicates of it."""
    one = to_structured_event(sdk_event(subject="s", traceparent="00-x"))
    assert send(client, key, one).json["accepted"] == 1
    assert one.body is not None
    binary = to_binary_event(sdk_event(subject="s"))
    batch = HTTPMessage({"content-type": BATCH}, b"[" + one.body + b"]")
    for message in (binary, batch):
        assert send(client, key, message).json == {
            "workspace_id": 340, "accepted": 0, "duplicates": 1, "rejected": [], "position": 1,
        }  # fmt: skip
    assert post(client, key, "application/json", OURS).json["duplicates"] == 1
    with pool.connection() as database:
        assert ledger.record(database, 340, parsed(OURS)).position == 1


def test_a_batch_is_taken_event_by_event(client: testing.TestClient, key: dict[str, str]) -> None:
    """A rejection names its index; an empty batch is fine."""
    answer = post(
        client,
        key,
        BATCH,
        [structured(id=str(each), time=None if each == 1 else TIME.isoformat()) for each in range(3)],
    )
    assert answer.status_code == 207
    assert answer.json["accepted"] == 2
    assert [(each["index"], each["id"], each["code"]) for each in answer.json["rejected"]] == [
        (1, "1", "invalid_field")
    ]
    assert post(client, key, BATCH, []).json["position"] == 2
    assert post(client, key, BATCH, [structured(id=str(each)) for each in range(10_001)]).status_code == 413


WRONG: list[tuple[object, str, str]] = [
    (structured(specversion=None), "invalid_field", "specversion"),
    (structured(specversion="0.3"), "invalid_field", "specversion"),
    (structured(id=None), "invalid_field", "id"),
    (structured(source=None), "invalid_field", "source"),
    (structured(source=""), "invalid_field", "source"),
    (structured(type=5), "invalid_field", "type"),
    (structured(type="com.example.Nonsense"), "unknown_type", "type"),
    (structured(type="EmailSent."), "unknown_type", "type"),
    (structured(time=None), "invalid_field", "time"),
    (structured(time="yesterday"), "invalid_field", "occurred_at"),
    (structured(time="2999-01-01T00:00:00Z"), "out_of_range", "occurred_at"),
    (structured(data=None), "invalid_field", "data"),
    (structured(data="x"), "invalid_field", "data"),
    (structured(data_base64="e30="), "invalid_field", "data_base64"),
    *[(structured(data=None, data_base64=bad), "invalid_field", "data_base64") for bad in (5, "e30", "e3\n0=", "é")],
    (structured(data=None, data_base64="bm9wZQ=="), "malformed", "data_base64"),
    (structured(data=None, data_base64="eyJhIjoxLCJhIjoyfQ=="), "malformed", "data_base64"),
    (structured(data=None, data_base64="NQ=="), "invalid_field", "data"),
    (structured(data=None, data_base64="e30=", datacontenttype="text/xml"), "invalid_field", "datacontenttype"),
    (structured(data={**DATA, "id": "e-2"}), "invalid_field", "id"),
    (structured(data={**DATA, "occurred_at": "x"}), "invalid_field", "occurred_at"),
    (structured(data={**DATA, "nonsense": 1}), "invalid_field", "nonsense"),
    ("x", "malformed", "event"),
]


@pytest.mark.parametrize(("event", "code", "field"), WRONG)
def test_what_is_wrong_is_named(
    client: testing.TestClient, key: dict[str, str], event: object, code: str, field: str
) -> None:
    """The attribute or the field of the data."""
    answer = post(client, key, BATCH, [event])
    assert answer.status_code == 422
    [rejected] = answer.json["rejected"]
    assert rejected["code"] == code
    assert rejected["error"].startswith(f"{field}:")


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/cloudevents+json", [structured()], 400),
        ("application/cloudevents+json; charset=utf-8", structured(), 200),
        (BATCH, structured(), 400),
        ("application/cloudevents+xml", structured(), 415),
        ("application/cloudevents+json", structured(whatever={"a": 1}, dataschema="x"), 200),
        ("application/cloudevents+json", structured(data={**DATA, "id": None}), 200),
    ],
)
def test_the_type_says_what_the_body_is(
    client: testing.TestClient, key: dict[str, str], kind: str, body: object, status: int
) -> None:
    """One event, or a list of them; other attributes are ignored."""
    assert post(client, key, kind, body).status_code == status


def test_binary_mode_names_what_its_headers_lack(client: testing.TestClient, key: dict[str, str]) -> None:
    """As the structured mode does."""
    message = to_binary_event(sdk_event())
    for name, field in (("ce-id", "id"), ("ce-time", "time"), ("ce-source", "source"), ("ce-type", "type")):
        headers = {each: value for each, value in message.headers.items() if each != name}
        answer = client.simulate_post(PATH, headers={**key, **headers}, body=message.body)
        assert answer.status_code == 422
        assert answer.json["rejected"][0]["error"].startswith(f"{field}:")
    assert client.simulate_post(PATH, headers={**key, **message.headers}, body=b"no json").status_code == 400


def binary(client: testing.TestClient, key: dict[str, str], **attributes: str) -> testing.Result:
    """Post an event in binary mode, with these headers as bytes that are written as Latin-1."""
    context = {"specversion": "1.0", "id": "e-1", "source": "/m", "type": "EmailSent", "time": str(OURS["occurred_at"])}
    headers = {f"ce-{name}": value for name, value in {**context, **attributes}.items()}
    headers |= {**key, "Content-Type": "application/json"}
    return client.simulate_post(PATH, headers=headers, body=json.dumps(DATA))


ENCODED = [  # a header's value, and what it says
    ("%C3%A9%20%25%22", 'é %"'),
    ("%c3%a9", "é"),
    ("%41", "A"),
    ("%2541", "%41"),
    ("a+b", "a+b"),
    ("%F0%9F%98%80", "😀"),
    ("é".encode().decode("latin-1"), "é"),
    ('"a b"', "a b"),
    ('"a\\"b\\\\"', 'a"b\\'),
    ('"a%20b"', "a b"),
    ('a"b', 'a"b'),
]


@pytest.mark.parametrize(("sent", "meant"), ENCODED)
def test_headers_are_decoded_as_the_binding_has_it(
    client: testing.TestClient, key: dict[str, str], sent: str, meant: str
) -> None:
    """Unquoted, percent-decoded once, and UTF-8 also where it was sent as it is: the structured mode says the same."""
    assert binary(client, key, id=sent, source=sent).json["accepted"] == 1
    kind = "application/cloudevents+json"
    assert post(client, key, kind, structured(id=meant, source=meant)).json["duplicates"] == 1


@pytest.mark.parametrize(
    "sent",
    [
        "x%FF",
        "x%FE",
        "%C0%A0",
        "%E0%80%A0",
        "%ED%A0%80",
        "%C3",
        "%F4%90%80%80",
        "\xe9",
        "\xff",
        "50%",
        "%",
        "%4",
        "%GG",
        '"a',
        '"a"b',
    ],
)
@pytest.mark.parametrize("attribute", ["id", "source"])
def test_an_unreadable_header_is_refused(
    client: testing.TestClient, key: dict[str, str], pool: Pool, attribute: str, sent: str
) -> None:
    """Invalid UTF-8, overlong forms and broken encodings would make two ids one."""
    answer = binary(client, key, **{attribute: sent})
    assert (answer.status_code, answer.json["details"][0]["field"]) == (400, f"ce-{attribute}")
    assert log(pool) == []


def test_a_fault_of_a_header_is_named_before_access_and_body_are_looked_at(
    client: testing.TestClient, key: dict[str, str], users: Access
) -> None:
    """To whoever is authenticated."""
    elsewhere, reads = api_key(users, 341, user="u-2"), api_key(users, 340, user="u-3", scopes=("read",))
    for own in (key, elsewhere, reads):
        assert binary(client, own, id="50%").status_code == 400
    assert [binary(client, own, id="x").status_code for own in (key, elsewhere, reads)] == [200, 403, 403]
    assert binary(client, {"X-API-Key": "ca_0.x"}, id="50%").status_code == 401
    headers = {**key, "Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": "50%"}
    answer = client.simulate_post(PATH, headers=headers, body=b"{bad")
    assert answer.json["details"][0]["field"] == "ce-id"


@pytest.mark.parametrize("kind", [None, "application/json", "application/json; charset=utf-8", "text/x+json"])
def test_data_may_come_as_base64(client: testing.TestClient, key: dict[str, str], kind: str | None) -> None:
    """As SDKs send bytes: it is the same event."""
    text = base64.b64encode(json.dumps(DATA).encode()).decode()
    packed = structured(data=None, data_base64=text, datacontenttype=kind)
    assert post(client, key, "application/cloudevents+json", packed).json["accepted"] == 1
    assert post(client, key, BATCH, [structured()]).json["duplicates"] == 1


def test_a_rejection_lists_all_faults_of_an_envelope(client: testing.TestClient, key: dict[str, str]) -> None:
    """In JSON's words."""
    event = structured(specversion=None, id=5, source="", time=None, data=[])
    [rejected] = post(client, key, BATCH, [event]).json["rejected"]
    assert rejected["errors"] == [
        "specversion: expected 1.0",
        "id: expected a string, got an integer",
        "source: expected a string that is not empty",
        "time: is missing",
        "data: expected a JSON object, got an array",
    ]


@pytest.mark.parametrize("kind", ["application/cloudevents+json", BATCH])
def test_a_name_twice_is_an_error(client: testing.TestClient, key: dict[str, str], kind: str) -> None:
    """In the envelope and in the data."""
    for event in (
        json.dumps(structured()).replace('"id"', '"id": "e-0", "id"'),
        json.dumps(structured()).replace('"step"', '"step": 1, "step"'),
    ):
        body = event if kind != BATCH else f"[{event}]"
        answer = client.simulate_post(PATH, headers={**key, "Content-Type": kind}, body=body)
        assert (answer.status_code, "twice in one object" in answer.json["error"]) == (400, True)
