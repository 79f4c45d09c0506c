"""The parser of events: it checks what a worker posted, whatever format it came in, and names every fault."""

from collections.abc import Collection
from functools import cache
from itertools import chain
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from domain.campaign_keys import campaign_id_of_key
from domain.events import (
    BY_NAME,
    EVENTS,
    MAX_PROSPECT_ID,
    CampaignCreated,
    CampaignRenamed,
    Code,
    Event,
    EventId,
    EventRetracted,
    Retracted,
    Source,
)
from domain.instants import parse_instant
from domain.suggestions import did_you_mean
from domain.texts import NOT_TEXT, shown
from domain.zones import time_zones

FUTURE_TOLERANCE_MS = 5 * 60 * 1000  # a worker's clock may be ahead by this much
MAX_ERRORS = 10  # that the answer names of one event
_MAX_PROSPECT = (
    10**MAX_PROSPECT_ID
)  # an integer with more digits than a prospect id may have is left as it is, and refused
NO_RETRACTION = "a retraction can't be taken back: send what it took back again, with another id"
_Fault = tuple[Code, str]  # and the text, which begins with the field's name

_FIELDS = {event: frozenset(event.__struct_fields__) for event in EVENTS}
_ANY_FIELDS = frozenset[str]().union(*_FIELDS.values())
_COMMON = _FIELDS[CampaignRenamed] - {"name"}
_RETRACTED = [field for field in msgspec.structs.fields(Retracted) if field.name != "key"]


class RejectedError(Exception):
    """An event was refused for its form: `code` is stable, `errors` name the fields and what is expected."""

    def __init__(self, code: Code, error: str, *more: str) -> None:
        """Take the stable code of the first fault, and the texts for people, one for each fault."""
        super().__init__(error)
        self.code = code
        self.error = error
        self.errors = (error, *more)


def parse(fields: object, now: int, *, is_text: bool = False) -> Event:  # noqa: C901, PLR0912 (the hot path)
    """Return the event of a worker's JSON object, checked, whatever format the object came in.

    `now` is the server's clock in ms; `is_text` says that no string of the object can have what `NOT_TEXT` finds.
    Raises RejectedError, which names all fields that are wrong.
    """
    if not isinstance(fields, dict):
        raise RejectedError("malformed", f"event: expected a JSON object, got {json_type(fields)}")
    kind = fields.get("type")
    event = BY_NAME.get(kind) if isinstance(kind, str) else None
    if event is None:
        raise _refusal(fields, now)
    known = dict(fields)
    del known["type"]
    if None in known.values():
        known = {name: value for name, value in known.items() if value is not None}
    if not known.keys() <= _FIELDS[event]:
        raise _refusal(fields, now)
    retracts = known.get("retracts")
    if isinstance(retracts, dict):
        known["retracts"] = retracts = {name: value for name, value in retracts.items() if value is not None}
        if "key" in retracts:
            raise _refusal(fields, now)
    if not is_text:
        objects = (known, retracts) if isinstance(retracts, dict) else (known,)
        texts = [value for each in objects for value in each.values() if type(value) is str]
        if NOT_TEXT.search("\n".join(texts)):
            raise _refusal(fields, now)
    prospect = known.get("prospect_id")
    if type(prospect) is int and abs(prospect) < _MAX_PROSPECT:
        known["prospect_id"] = str(prospect)
    key = known.get("campaign_key")
    if key is not None:
        if "campaign_id" in known or type(key) is not str:
            raise _refusal(fields, now)
        known["campaign_id"] = campaign_id_of_key(key)
    try:
        known["occurred_at"] = _instant(known.get("occurred_at"), now)
        parsed: Event = msgspec.convert(known, event)
    except (_FaultError, msgspec.ValidationError) as error:
        raise _refusal(fields, now) from error
    if event is CampaignCreated and "timezone" in known and known["timezone"] not in time_zones():
        raise _refusal(fields, now)
    if event is EventRetracted and _retraction_faults(known):
        raise _refusal(fields, now)
    return parsed


def readable_id(fields: object) -> str | None:
    """Return the id of a refused event, None where the id is invalid."""
    return _readable(fields, "id", EventId)


def readable_source(fields: object) -> str | None:
    """Return the source of a refused event, `""` where it has none, None where the source is invalid."""
    if isinstance(fields, dict) and fields.get("source") is None:
        return ""
    return _readable(fields, "source", Source)


def _readable(fields: object, name: str, kind: Any) -> str | None:  # noqa: ANN401 (a type form)
    if not isinstance(fields, dict):
        return None
    try:
        text: str = msgspec.convert(fields.get(name), kind)
    except msgspec.ValidationError:
        return None
    return None if NOT_TEXT.search(text) else text


class _FaultError(Exception):
    """A field is invalid; the text says why."""

    def __init__(self, code: Code, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


def _instant(value: object, now: int) -> int:
    """Return the instant that `occurred_at` is; raise _FaultError where it is none, or lies out of range."""
    if value is None:
        raise _FaultError("invalid_field", "is missing")
    if not isinstance(value, str):
        raise _FaultError("invalid_field", f"expected an RFC 3339 time as a string, got {json_type(value)}")
    try:
        instant = parse_instant(value)
    except ValueError as error:
        raise _FaultError("invalid_field", f"{shown(value)} is malformed: {_EXPECTED_INSTANT}") from error
    if instant < 0:
        raise _FaultError("out_of_range", f"{shown(value)} lies before 1970")
    if instant > now + FUTURE_TOLERANCE_MS:
        raise _FaultError("out_of_range", f"{shown(value)} lies in the future")
    return instant


_EXPECTED_INSTANT = "expected RFC 3339 with an offset, such as 2026-11-01T10:00:00Z"


def _refusal(fields: dict[Any, Any], now: int) -> RejectedError:
    """Return the rejection of an invalid event, with all its faults."""
    faults: list[_Fault] = []
    kind = fields.get("type")
    event = BY_NAME.get(kind) if isinstance(kind, str) else None
    if event is None:
        code, why = _type_fault(kind)
        faults.append((code, f"type: {why}"))
    allowed, of = (_FIELDS[event], event.__name__) if event else (_ANY_FIELDS, "any event")
    faults += _unknown_fields({name: value for name, value in fields.items() if name != "type"}, allowed, of)
    if fields.get("campaign_key") is not None:  # the id is derived from it, and may not be there too
        if fields.get("campaign_id") is not None:
            faults.append(("invalid_field", "campaign_key: expected campaign_id or campaign_key, not both"))
        fields = {**fields, "campaign_id": 1}
    for field in sorted(msgspec.structs.fields(event or Event), key=lambda field: field.name not in _COMMON):
        faults += _field_faults(field, fields.get(field.name), now)
    if event is EventRetracted and not faults:
        faults += _retraction_faults(fields)
    assert faults, "no field is at fault"
    return RejectedError(faults[0][0], *(error for _, error in faults[:MAX_ERRORS]))


def _unknown_fields(fields: dict[Any, Any], allowed: Collection[str], of: str, within: str = "") -> list[_Fault]:
    unknown = [name for name, value in fields.items() if value is not None and name not in allowed]
    return [
        ("invalid_field", f"{within}{shown(name)}: is not a field of {of}{did_you_mean(name, allowed)}")
        for name in sorted(unknown)[:MAX_ERRORS]
    ]


def _field_faults(field: msgspec.structs.FieldInfo, value: object, now: int, within: str = "") -> list[_Fault]:
    """Return what is wrong with a field; of an object, with its fields, whose names stand behind its own."""
    if field.type is Retracted and isinstance(value, dict):
        inner = [_field_faults(each, value.get(each.name), now, "retracts.") for each in _RETRACTED]
        return [*_unknown_fields(value, [each.name for each in _RETRACTED], "retracts", "retracts."), *chain(*inner)]
    try:
        _check_field(field, value, now)
    except _FaultError as fault:
        return [(fault.code, f"{within}{field.name}: {fault.why}")]
    return []


def _retraction_faults(fields: dict[Any, Any]) -> list[_Fault]:
    """Return the faults of a retraction whose fields are each valid by themselves."""
    faults: list[_Fault] = []
    retracts = fields["retracts"]
    if (retracts["id"], retracts.get("source") or "") == (fields["id"], fields.get("source") or ""):
        faults += [("invalid_field", f"retracts: names this event itself, and {NO_RETRACTION}")]
    if fields.get("prospect_id") is None:
        beside = [name for name in ("step", "sender_id", "variant") if fields.get(name) is not None]
        faults += [
            ("invalid_field", f"{name}: is not a field of EventRetracted without prospect_id") for name in beside
        ]
    return faults


def _type_fault(kind: object) -> tuple[Code, str]:
    if kind is None:
        return "invalid_field", f"is missing, {_EXPECTED_TYPE}"
    if not isinstance(kind, str):
        return "invalid_field", f"expected a string, got {json_type(kind)}"
    return (
        "unknown_type",
        f"{shown(kind)} is not a type of event{did_you_mean(kind, BY_NAME) or f', {_EXPECTED_TYPE}'}",
    )


_EXPECTED_TYPE = f"expected one of {', '.join(BY_NAME)}"


def _check_field(field: msgspec.structs.FieldInfo, value: object, now: int) -> None:
    """Raise _FaultError where a field is missing or wrong."""
    if isinstance(value, str) and NOT_TEXT.search(value):
        raise _FaultError("invalid_field", "must not contain NUL or a lone surrogate")
    if field.name == "occurred_at":
        _instant(value, now)
    elif value is None:
        if field.required:
            instead = ", or campaign_key in its place" if field.name == "campaign_id" else ""
            raise _FaultError("invalid_field", f"is missing{instead}")
    elif field.name == "prospect_id" and type(value) is int:
        if abs(value) >= _MAX_PROSPECT:
            raise _FaultError("invalid_field", f"expected at most {MAX_PROSPECT_ID} characters")
    else:
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError as error:
            raise _FaultError("invalid_field", _expected(field, value)) from error
        if field.name == "timezone" and value not in time_zones():
            meant = _folded_time_zones().get(str(value).casefold())
            hint = f", did you mean {meant}?" if meant else ""
            raise _FaultError("invalid_field", f"{shown(str(value))} is not an IANA time zone{hint}")


def _expected(field: msgspec.structs.FieldInfo, value: object) -> str:
    """Say in JSON's words what a field may be, of a value that it can't have."""
    if field.type is Retracted:
        return f"expected an object, got {json_type(value)}"
    parts = [part for each in (field.type, *get_args(field.type)) for part in (each, *get_args(each))]
    for part in parts:
        if get_origin(part) is Literal:
            return f"expected one of {', '.join(get_args(part))}"
    kind = next(part for part in parts if part in (bool, int, str))
    if type(value) is not kind:
        also = " or an integer" if field.name == "prospect_id" else ""
        return f"expected {_JSON_TYPES[kind]}{also}, got {json_type(value)}"
    bounds = next(part for part in parts if isinstance(part, Meta))
    if kind is int:
        return f"expected an integer from {bounds.ge} to {bounds.le}"
    return f"expected {f'{bounds.min_length} to' if bounds.min_length else 'at most'} {bounds.max_length} characters"


_JSON_TYPES: dict[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def json_type(value: object) -> str:
    """Return what JSON calls a value, with its article."""
    return _JSON_TYPES.get(type(value), "null")


@cache
def _folded_time_zones() -> dict[str, str]:
    return {name.casefold(): name for name in time_zones()}
