"""Shows that a worker's event is read by the rules, and that what lies on disk keeps its meaning."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.events import EVENTS, TOPICS, Event, UndecodableError, decode, encode
from domain.parsing import RejectedError, parse
from tests.support.catalogue import COMMON, COMMON_STATE, STORED
from tests.support.event_parsing import NOW, event_of, refusal
from tests.support.examples import email_sent

ASTRAL = "😀"  # one character, two UTF-16 units, four bytes


def test_every_class_is_pinned() -> None:
    """A new class of event needs its line in the catalogue, and none may vanish from it."""
    assert [kind for kind, *_ in STORED] == [event.__name__ for event in EVENTS]


@pytest.mark.parametrize(("kind", "fields", "state"), STORED)
def test_what_lies_on_disk_stays_as_it_is(kind: str, fields: dict[str, Any], state: str) -> None:
    """The topic and the bytes of each class are read back as the same event, by this version and every later one."""
    event = parse({"type": kind, **COMMON, **fields}, NOW)
    assert TOPICS[type(event)] == "domain.events:" + kind
    stored = (state + COMMON_STATE).encode()
    assert encode(event) == stored
    assert decode("domain.events:" + kind, stored) == event


@pytest.mark.parametrize(("kind", "fields", "state"), STORED)
def test_defaults_are_not_stored(kind: str, fields: dict[str, Any], state: str) -> None:
    """A default that is written out, null or left out takes no bytes, whatever the class."""
    spelt = event_of(kind, source="", **{name: None for name in fields if name not in event_of(kind)})
    if kind == "CampaignCreated":
        spelt["status"] = "DRAFT"
    if kind == "ReplyReceived":
        spelt["automatic"] = False
    assert encode(parse(spelt, NOW)) == encode(parse(event_of(kind), NOW))
    assert len(encode(parse(event_of(kind), NOW))) < len(state + COMMON_STATE)
    assert b"null" not in encode(parse(spelt, NOW))


@pytest.mark.parametrize(
    ("topic", "state"),
    [
        ("domain.events:EmailEaten", '{"prospect_id":"p",' + COMMON_STATE),
        ("EmailSent", '{"prospect_id":"p",' + COMMON_STATE),
        ("domain.events:EmailSent", ""),
        ("domain.events:EmailSent", "{}"),
        ("domain.events:EmailSent", '{"prospect_id":"\xff",' + COMMON_STATE),
        ("domain.events:EmailSent", '{"stepp":1,"prospect_id":"p",' + COMMON_STATE),
    ],
)
def test_damage_on_disk_raises_an_error_of_its_own(topic: str, state: str) -> None:
    """An unknown topic or a damaged state is one kind of error, which the projector can catch."""
    with pytest.raises(UndecodableError):
        decode(topic, state.encode("latin-1"))


LENGTHS = [  # field, kind, least and most characters
    ("id", "EmailSent", 1, 128),
    ("source", "EmailSent", 0, 256),
    ("prospect_id", "EmailSent", 1, 128),
    ("sender_id", "EmailSent", 1, 128),
    ("variant", "EmailSent", 1, 64),
    ("name", "CampaignCreated", 1, 256),
    ("name", "CampaignRenamed", 1, 256),
    ("language", "CampaignCreated", 1, 35),
]


@pytest.mark.parametrize(("field", "kind", "least", "most"), LENGTHS)
@pytest.mark.parametrize("character", ["a", " ", "é", "\u0301", "\u202e", ASTRAL])
def test_lengths_are_in_characters(field: str, kind: str, least: int, most: int, character: str) -> None:
    """Any Unicode counts one a character up to the limit and is kept as it is; one more or one too few is refused."""
    for length in {least, most}:
        event = parse(event_of(kind, **{field: character * length}), NOW)
        assert getattr(event, field) == character * length
        assert decode(TOPICS[type(event)], encode(event)) == event
    for length in {most + 1, least - 1} - {-1}:
        code, error = refusal(event_of(kind, **{field: character * length}))
        assert (code, error.partition(":")[0]) == ("invalid_field", field)


@pytest.mark.parametrize(("field", "kind", "least", "most"), LENGTHS)
@pytest.mark.parametrize("bad", ["\0", "a\0b", "\ud800", "a\udfff"])
def test_nul_and_lone_surrogates_are_refused(field: str, kind: str, least: int, most: int, bad: str) -> None:
    """What PostgreSQL or UTF-8 can't hold is refused in every text, and the error can be written."""
    del least, most
    code, error = refusal(event_of(kind, **{field: bad}))
    assert (code, error.split(":")[0]) == ("invalid_field", field)
    error.encode()


@pytest.mark.parametrize(
    ("prospect", "expected"),
    [(5, "5"), (0, "0"), (-5, "-5"), (2**64, "18446744073709551616"), (10**127, "1" + "0" * 127), ("05", "05")],
)
def test_a_prospect_may_be_an_integer(prospect: int | str, expected: str) -> None:
    """An integer is taken as its decimal string, a string as it is, untrimmed."""
    event = parse(event_of(prospect_id=prospect), NOW)
    assert json.loads(encode(event))["prospect_id"] == expected


TYPES = "expected one of " + ", ".join(event.__name__ for event in EVENTS)
WRONG: list[tuple[str, str, list[Any]]] = [  # kind, field, values
    ("EmailSent", "prospect_id", [None, True, 5.0, [], {}, 10**128]),
    ("EmailSent", "campaign_id", [None, True, 5.0, "5", 0, -1, 2**63]),
    ("EmailSent", "step", [True, False, 5.0, "5", -1, 10_001, [], 2**64]),
    *[("EmailSent", name, [1, True, []]) for name in ("id", "source", "sender_id", "variant", "type")],
    ("EmailSent", "id", [None]),
    ("EmailSent", "type", [None]),
    ("EmailSent", "occurred_at", [None, 1, 1.5, True, [], {}, "\ud800", "2026-11-01T10:00:00Z\0"]),
    *[("EmailSent", name, ["x"]) for name in ("stepp", "channel", "automatic", "name", "workspace_id", "")],
    ("ReplyReceived", "channel", ["sms", "Email", "", 1, True, "\ud800"]),
    ("ReplyReceived", "automatic", [0, 1, "true", ""]),
    ("CampaignCreated", "status", ["active", "UNKNOWN", True]),
    ("CampaignCreated", "timezone", ["europe/berlin", "Mars/X", "", "+01:00", " UTC", "../UTC", 1, "\ud800", "UTC\0"]),
    ("CampaignStatusChanged", "status", ["active", "", "GONE", None, 1, "\ud800"]),
    ("CampaignRenamed", "name", [None, 1, []]),
    *[("CampaignRenamed", name, ["x"]) for name in ("prospect_id", "step", "status", "timezone")],
]


@pytest.mark.parametrize(("kind", "field", "value"), [(*each, value) for *each, values in WRONG for value in values])
def test_a_wrong_field_is_named(kind: str, field: str, value: Any) -> None:
    """A boolean is no integer, 5.0 neither; what is wrong, missing or unknown is named in a text."""
    fields = {**event_of(kind), field: value}
    code, error = refusal(fields)
    assert (code, error.partition(":")[0]) == ("invalid_field", field)
    error.encode()


@pytest.mark.parametrize("field", ["prospect_id", "campaign_id", "step", "occurred_at", "id", "stepp"])
def test_an_integer_too_long_to_write_is_refused(field: str) -> None:
    """Python itself refuses to write an integer of 5,000 digits; the error names the wrong field."""
    code, error = refusal({**event_of(), field: 10**5_000})
    assert (code, error.partition(":")[0]) == ("invalid_field", field)


@pytest.mark.parametrize(
    ("fields", "code", "error"),
    [
        (event_of(stepp=1), "invalid_field", "stepp: is not a field of EmailSent, did you mean step?"),
        (event_of("EmailEaten"), "unknown_type", "type: EmailEaten is not a type of event, did you mean EmailSent?"),
        (event_of("x" * 65), "unknown_type", f"type: {'x' * 63}… is not a type of event, {TYPES}"),
        ({**event_of(), "\ud800": 1}, "invalid_field", "?: is not a field of EmailSent"),
        (event_of(**{"y" * 100: "v" * 100}), "invalid_field", f"{'y' * 63}…: is not a field of EmailSent"),
        *[
            (bad, "malformed", f"event: expected a JSON object, got {kind}")
            for bad, kind in (
                (None, "null"),
                ([], "an array"),
                ("x", "a string"),
                (5, "an integer"),
                (True, "a boolean"),
            )
        ],
        ({}, "invalid_field", f"type: is missing, {TYPES}"),
    ],
)
def test_the_code_is_stable_and_the_text_short(fields: object, code: str, error: str) -> None:
    """A worker can act on the code; an error text repeats at most 64 characters of a value."""
    assert refusal(fields) == (code, error)


IN_WORDS = [  # kind, field, value, error text
    ("EmailSent", "campaign_id", "5", "expected an integer, got a string"),
    ("EmailSent", "campaign_id", True, "expected an integer, got a boolean"),
    ("EmailSent", "campaign_id", 5.0, "expected an integer, got a decimal number"),
    ("EmailSent", "campaign_id", 0, f"expected an integer from 1 to {2**63 - 1}"),
    ("EmailSent", "step", [], "expected an integer, got an array"),
    ("EmailSent", "step", 10_001, "expected an integer from 0 to 10000"),
    ("EmailSent", "prospect_id", {}, "expected a string or an integer, got an object"),
    ("EmailSent", "prospect_id", 10**128, "expected at most 128 characters"),
    ("EmailSent", "id", 5, "expected a string, got an integer"),
    ("EmailSent", "id", "", "expected 1 to 128 characters"),
    ("EmailSent", "source", "x" * 257, "expected at most 256 characters"),
    ("EmailSent", "occurred_at", 5, "expected an RFC 3339 time as a string, got an integer"),
    ("EmailSent", "occurred_at", None, "is missing"),
    ("ReplyReceived", "automatic", 1, "expected a boolean, got an integer"),
    ("ReplyReceived", "channel", "sms", "expected one of email, linkedin"),
    ("CampaignCreated", "status", 5, "expected one of DRAFT, ACTIVE, PAUSED, COMPLETED, ARCHIVED"),
    ("CampaignCreated", "timezone", 5, "expected a string, got an integer"),
    ("CampaignCreated", "timezone", "x/y", "x/y is not an IANA time zone"),
    (
        "CampaignCreated",
        "timezone",
        "europe/berlin",
        "europe/berlin is not an IANA time zone, did you mean Europe/Berlin?",
    ),
    ("EmailSent", "prospectid", 5, "is not a field of EmailSent, did you mean prospect_id?"),
    ("EmailSent", "occuredAt", 5, "is not a field of EmailSent, did you mean occurred_at?"),
    ("EmailSent", "q", 5, "is not a field of EmailSent"),
    ("EmailSent", "type", "emailsent", "emailsent is not a type of event, did you mean EmailSent?"),
    ("EmailSent", "type", 5, "expected a string, got an integer"),
]


@pytest.mark.parametrize(("kind", "field", "value", "why"), IN_WORDS)
def test_an_error_speaks_the_words_of_json(kind: str, field: str, value: Any, why: str) -> None:
    """Not Python's; and it guesses which name was meant."""
    assert refusal({**event_of(kind), field: value})[1] == f"{field}: {why}"


def test_all_faults_are_listed_in_order() -> None:
    """The code is that of the first; of a type that is unknown, what all events have is checked."""
    with pytest.raises(RejectedError) as caught:
        parse({"type": "EmailSend", "occurred_at": "2999-01-01T00:00:00Z", "campain_id": 5}, NOW)
    assert caught.value.code == "unknown_type"
    assert caught.value.errors == (
        "type: EmailSend is not a type of event, did you mean EmailSent?",
        "campain_id: is not a field of any event, did you mean campaign_id?",
        "id: is missing",
        "campaign_id: is missing, or campaign_key in its place",
        "occurred_at: 2999-01-01T00:00:00Z lies in the future",
    )
    assert caught.value.error == caught.value.errors[0]


INSTANTS = [  # as event, in ms since 1970
    *[(f"2026-11-01{text}", NOW) for text in ("T10:00:00Z", "t10:00:00z", "T11:00:00+01:00", "T10:00:00-00:00")],
    *[(text, NOW) for text in ("2026-10-31T10:01:00-23:59", "2026-11-02T09:59:00+23:59")],
    ("2026-11-01T09:59:59.9Z", NOW - 100),
    *[(f"2026-11-01T09:59:59.{digits}Z", NOW - 1) for digits in ("999", "9999", "9999999", "9" * 20)],
    ("2026-11-01T10:05:00Z", NOW + 300_000),
    ("2026-11-01T10:05:00.0009Z", NOW + 300_000),
    ("1970-01-01T00:00:00Z", 0),
    ("1970-01-01T00:00:00.0009Z", 0),
    ("1969-12-31T23:00:00-01:00", 0),
    ("2024-02-29T00:00:00Z", 1_709_164_800_000),
]


@pytest.mark.parametrize(("text", "instant"), INSTANTS)
def test_an_instant_is_whole_milliseconds_in_utc(text: str, instant: int) -> None:
    """Further digits are cut, never rounded; 1970 and five minutes ahead are still taken."""
    assert parse(event_of(occurred_at=text), NOW).occurred_at == instant


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("2026-11-01T10:05:00.001Z", "in the future"),
        ("9999-12-31T23:59:59-23:59", "in the future"),
        ("1969-12-31T23:59:59.9999999Z", "before 1970"),
        ("1970-01-01T00:00:00+00:01", "before 1970"),
        ("0001-01-01T00:00:00+23:59", "before 1970"),
        ("0000-02-29T00:00:00Z", "before 1970"),
        ("0000-12-31T23:59:59-23:59", "before 1970"),
    ],
)
def test_an_instant_out_of_range_has_an_error_of_its_own(text: str, where: str) -> None:
    """Before 1970 and more than five minutes ahead of the server are `out_of_range`, not malformed."""
    assert refusal(event_of(occurred_at=text)) == ("out_of_range", f"occurred_at: {text} lies {where}")


MALFORMED = (
    "2026-11-01T10:00:00 2026-11-01T10:00Z 2026-11-01T10:00:00+0100 2026-11-01T10:00:00+01 2026-11-01T10:00:00+24:00"
    " 2026-11-01T10:00:00-23:60 2026-11-01T24:00:00Z 2026-11-01T10:60:00Z 2026-11-01T23:59:60Z 2026-11-01T10:00:00.Z"
    " 2026-11-01T10:00:00,5Z 2026-02-29T10:00:00Z 2026-13-01T10:00:00Z 2026-00-01T10:00:00Z 2026-11-31T10:00:00Z"
    " 0000-02-30T00:00:00Z 0000-00-01T00:00:00Z 2026-W44-7T10:00:00Z 20261101T100000Z 2026-11-01 1793527200000"
    " 12026-11-01T10:00:00Z -2026-11-01T10:00:00Z ٢٠٢٦-11-01T10:00:00Z 2026-11-01T10:00:00UTC now"
)


@pytest.mark.parametrize(
    "text",
    [*MALFORMED.split(" "), "", "2026-11-01 10:00:00Z", " 2026-11-01T10:00:00Z", "2026-11-01T10:00:00Z\n"],
)
def test_a_malformed_instant_is_refused(text: str) -> None:
    """No offset, one without its colon or beyond 23:59, hour 24, second 60 and all that is no RFC 3339."""
    code, error = refusal(event_of(occurred_at=text))
    assert (code, error.partition(":")[0]) == ("invalid_field", "occurred_at")
    assert "is malformed: expected RFC 3339 with an offset" in error
    error.encode()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"occurred_at": "2026-11-01T11:00:00+01:00"}, {}, True),
        ({"occurred_at": "2026-11-01T10:00:00.0009Z"}, {}, True),
        ({"prospect_id": 1}, {"prospect_id": "1"}, True),
        ({"source": ""}, {"source": None}, True),
        ({"type": "ReplyReceived", "automatic": False}, {"type": "ReplyReceived"}, True),
        ({"prospect_id": "01"}, {"prospect_id": 1}, False),
        ({"step": 0}, {}, False),
        ({"sender_id": "é"}, {"sender_id": "e\u0301"}, False),
        ({"type": "InviteSent"}, {}, False),
        ({"occurred_at": "2026-11-01T10:00:00.001Z"}, {}, False),
    ],
)
def test_events_are_compared_by_meaning(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:  # noqa: FBT001
    """Two spellings of one event are equal and lie on disk alike; anything that differs in meaning is not."""
    first, second = parse(email_sent(**one), NOW), parse(email_sent(**other), NOW)
    assert (first == second) is same
    assert ((TOPICS[type(first)], encode(first)) == (TOPICS[type(second)], encode(second))) is same


ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.sampled_from([text for text, _ in INSTANTS])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.sampled_from([0, 2**63, 10**200])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ANY_TEXT, inner, max_size=2))
FIELDS = sorted({name for event in EVENTS for name in event.__struct_fields__} | {"type"})


@given(
    kind=st.sampled_from([event.__name__ for event in EVENTS]),
    known=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3),
    unknown=st.dictionaries(ANY_TEXT, VALUES, max_size=1),
)
def test_any_body_is_an_event_or_refused(kind: str, known: dict[str, Any], unknown: dict[str, Any]) -> None:
    """No JSON whatever makes anything but an event that survives its storage, or a refusal that can be written."""
    try:
        event: Event = parse({**event_of(kind), **known, **unknown}, NOW)
    except RejectedError as error:
        assert error.error.encode()
    else:
        assert decode(TOPICS[type(event)], encode(event)) == event
