"""Shows that bodies whose events are decoded at once mean what they mean to the parser, event by event."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.errors import BODY_FAULTS
from api.ingest import formats, intake, typed_events
from api.ingest.formats import Part
from api.ingest.intake import Refused
from domain import ledger
from domain.events import BY_NAME, Event
from tests.support.examples import email_sent

LINE = 7  # of the first event, in a stream
NOW_MS = 1_800_000_000_000  # 2027-01-15
KINDS = sorted(BY_NAME.keys() - {"EventRetracted"})
FIELDS: dict[str, list[Any]] = {  # and values that they may have
    "id": ["e-1", "e-2"],
    "source": ["", "s-1"],
    "campaign_id": [1, 2**63 - 1],
    "prospect_id": ["p-1", "x" * 128],
    "step": [0, 3],
    "sender_id": ["a"],
    "variant": ["B"],
    "channel": ["email", "linkedin"],
    "automatic": [True, False],
    "name": ["A name", "é\U0001f600", '"\\'],
    "status": ["DRAFT", "ACTIVE"],
    "language": ["de"],
    "occurred_at": ["2026-10-07T08:09:10Z", "2026-10-07t08:09:10.123456789+02:00"],
}
LEFT_TO_THE_PARSER: dict[str, Any] = {"campaign_key": "spring", "timezone": "Europe/Berlin", "retracts": {"id": "e-9"}}
ODD_VALUES: list[Any] = [None, True, 0, 1, -1, 4.0, 2**63, 10**30, 10_001, "a", "1", [], {}, "\0", "\ud800"]
ODD_VALUES += [
    "",
    "x" * 129,
    "x" * 257,
    "EmailSent",
    "Mars/Olympus",
    "Europe/Berlin",
    "2026-10-07",
    "2026-02-30T08:09:10Z",
]
ODD_VALUES += ["2026-10-07T08:09:60Z", "2026-W41-3T08:09:10Z", "0000-02-29T00:00:00Z", "1969-12-31T23:59:59.999Z"]
ODD_VALUES += ["2999-12-31T23:59:59Z"]


@st.composite
def valid_events(draw: st.DrawFn) -> dict[str, Any]:
    """Return fields of an event of any type that is decoded at once."""
    kind = BY_NAME[draw(st.sampled_from(KINDS))]
    names = {field.name for field in msgspec.structs.fields(kind) if field.required or draw(st.booleans())}
    names &= FIELDS.keys()
    return {"type": kind.__name__} | {name: draw(st.sampled_from(FIELDS[name])) for name in sorted(names)}


def full(kind: str) -> dict[str, Any]:
    """Return a valid event with all fields of its type, but for those that are left to the parser."""
    return {"type": kind} | {name: FIELDS[name][0] for name in BY_NAME[kind].__struct_fields__ if name in FIELDS}


def oddities(kind: str) -> Iterator[dict[str, Any]]:
    """Yield events of a type with one field that is missing, or has any other value: valid ones or not."""
    event = full(kind)
    for name in (*event, *LEFT_TO_THE_PARSER, "step2", "key"):
        if name in event:
            yield {each: value for each, value in event.items() if each != name}
        for value in (*ODD_VALUES, LEFT_TO_THE_PARSER.get(name)):
            yield event | {name: value}
    yield {each: value for each, value in event.items() if each != "campaign_id"} | {"campaign_key": "spring"}


@contextmanager
def typed(*, allowed: bool) -> Iterator[None]:
    """Have bodies of any size decoded at once, or none at all."""
    with pytest.MonkeyPatch.context() as patch:
        if allowed:
            patch.setattr(formats, "MIN_TYPED_BYTES", 0)
        else:
            patch.setattr(typed_events, "decode", lambda _: None)
            patch.setattr(typed_events, "decode_each", lambda _: None)
        yield


def outcome(part_of: Callable[[], Part]) -> tuple[list[Event], list[bytes], list[int], list[Refused]] | str:
    """Return the valid events, their stored states and places, and the refused ones; or what is wrong with the body."""
    try:
        taken = intake.take(part_of(), 3, NOW_MS)
    except BODY_FAULTS as error:
        return repr((error, vars(error)))
    return taken.events, ledger.prepare(taken.events).states, taken.places, list(taken.refused.values())


def both(part_of: Callable[[], Part]) -> tuple[object, object]:
    """Return the outcomes where bodies are decoded at once and where they are not."""
    with typed(allowed=True):
        at_once = outcome(part_of)
    with typed(allowed=False):
        return at_once, outcome(part_of)


def spelt(listed: list[dict[str, Any]], *, ascii_only: bool) -> bytes:
    """Return a body with these events; lone surrogates stand in escapes, as they can in no UTF-8."""
    text = json.dumps({"events": listed}, ensure_ascii=ascii_only)
    return text.encode("utf-8", "surrogatepass")


@given(
    listed=st.lists(valid_events(), max_size=3), ascii_only=st.booleans(), bare=st.booleans(), repeated=st.booleans()
)
@example(listed=[email_sent(1)] * 3, ascii_only=False, bare=True, repeated=False)
def test_any_body_has_the_same_outcome(
    listed: list[dict[str, Any]],
    ascii_only: bool,  # noqa: FBT001
    bare: bool,  # noqa: FBT001
    repeated: bool,  # noqa: FBT001
) -> None:
    """Spelt in any way, also with a name that stands twice."""
    body = spelt(listed, ascii_only=ascii_only)
    if bare:
        body = body.removeprefix(b'{"events": ').removesuffix(b"}")
    if repeated:
        body = body.replace(b'"id":', b'"id": "e-2", "id":', 1)
    at_once, one_by_one = both(lambda: formats.part_of_json(body))
    assert at_once == one_by_one


@given(listed=st.lists(valid_events(), min_size=1, max_size=3), ascii_only=st.booleans(), repeated=st.booleans())
def test_any_lines_have_the_same_outcome(
    listed: list[dict[str, Any]],
    ascii_only: bool,  # noqa: FBT001
    repeated: bool,  # noqa: FBT001
) -> None:
    """The same for a stream of lines."""
    texts = [spelt([each], ascii_only=ascii_only)[len(b'{"events": [') : -2] for each in listed]
    if repeated:
        texts[0] = texts[0].replace(b'"id":', b'"id": "e-2", "id":', 1)
    lines = list(enumerate(texts, LINE))
    at_once, one_by_one = both(lambda: formats.part_of_lines(lines))
    assert at_once == one_by_one


@pytest.mark.parametrize("kind", sorted(BY_NAME))
def test_an_event_with_any_one_oddity_has_the_same_outcome(kind: str) -> None:
    """Any field of any value, in a body with a valid event, and on a line."""
    for event in oddities(kind):
        texts = [json.dumps(each).encode() for each in (email_sent(1), event)]
        at_once, one_by_one = both(lambda texts=texts: formats.part_of_json(b"[%b, %b]" % tuple(texts)))  # type: ignore[misc]
        assert at_once == one_by_one, event
        at_once, one_by_one = both(lambda texts=texts: formats.part_of_lines(list(enumerate(texts, LINE))))  # type: ignore[misc]
        assert at_once == one_by_one, event


@pytest.mark.parametrize("kind", KINDS)
def test_valid_events_of_each_type_are_decoded_at_once(kind: str) -> None:
    """All their fields, but for those whose value depends on more than its type."""
    event = full(kind)
    with typed(allowed=True):
        part = formats.part_of_json(json.dumps([event, event]).encode())
        assert part.is_typed
        assert len(intake.take(part, 0, NOW_MS).events) == 2
        assert formats.part_of_lines([(1, json.dumps(event).encode())]).is_typed


def test_an_event_in_the_future_costs_only_itself() -> None:
    """Its neighbours, decoded at once with it, are valid still."""
    body = spelt([email_sent(1), email_sent(2, occurred_at="2999-01-01T00:00:00Z"), email_sent(3)], ascii_only=False)
    with typed(allowed=True):
        part = formats.part_of_json(body)
        taken = intake.take(part, 0, NOW_MS)
    assert part.is_typed
    assert taken.places == [0, 2]
    assert [(place, each.rejection.code, each.rejection.id) for place, each in taken.refused.items()] == [
        (1, "out_of_range", "e-2")
    ]
