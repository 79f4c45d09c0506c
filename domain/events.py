"""Every kind of event that an outreach worker can post: a class each, and the one parser that checks it.

This is the storage format. An event is stored as its class's topic (`domain.events:EmailSent`) and its fields as JSON,
so renaming a class or a field, or moving this module, changes what stored events mean. Add; do not rename.
"""

import re
from collections.abc import Callable, Collection
from functools import cache
from itertools import chain
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from eventsourcing.utils import get_topic
from msgspec import Meta

from domain.campaign_keys import campaign_id_of_key
from domain.instants import format_instant, parse_instant
from domain.suggestions import did_you_mean
from domain.zones import time_zones

MAX_ID = 2**63 - 1  # campaigns and workspaces: a PostgreSQL bigint
INSTANT_BITS = 45  # an instant of an event, in ms: up to the year 3084
FUTURE_TOLERANCE_MS = 5 * 60 * 1000  # a worker's clock may be ahead by this much
MAX_ERRORS = 10  # that the answer names of one event
SHOWN_CHARACTERS = 64  # an error repeats no more of a value than this
_MAX_PROSPECT = 10**128  # an integer with more digits than a prospect id may have is left as it is, and refused
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")  # what PostgreSQL and UTF-8 can't hold: NUL and lone surrogates

Status = Literal["DRAFT", "ACTIVE", "PAUSED", "COMPLETED", "ARCHIVED"]
MAX_EVENT_ID = 128
MAX_SOURCE = 256
EventId = Annotated[str, Meta(min_length=1, max_length=MAX_EVENT_ID)]
Source = Annotated[str, Meta(max_length=MAX_SOURCE)]
ProspectId = Annotated[str, Meta(min_length=1, max_length=128)]
Step = Annotated[int, Meta(ge=0, le=10_000)]
SenderId = Annotated[str, Meta(min_length=1, max_length=128)]
Variant = Annotated[str, Meta(min_length=1, max_length=64)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
MAX_CAMPAIGN_KEY = 256
CampaignKey = Annotated[str, Meta(min_length=1, max_length=MAX_CAMPAIGN_KEY)]
NO_RETRACTION = "a retraction can't be taken back: send what it took back again, with another id"
Code = Literal["conflict", "out_of_range", "unknown_type", "invalid_field", "malformed", "too_large"]
_Fault = tuple[Code, str]  # and the text, which begins with the field's name


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An event of a campaign. Within a workspace `source` and `id` name it for ever; `occurred_at` is in ms, UTC."""

    id: EventId
    source: Source = ""
    campaign_id: Annotated[int, Meta(ge=1, le=MAX_ID)]
    campaign_key: CampaignKey | None = None  # from which the id is derived, where a tool names campaigns by strings
    occurred_at: Annotated[int, Meta(ge=0, lt=1 << INSTANT_BITS)]


class ProspectEvent(Event, frozen=True):
    """An event of one prospect in one campaign."""

    prospect_id: ProspectId
    step: Step | None = None
    sender_id: SenderId | None = None
    variant: Variant | None = None


class CampaignCreated(Event, frozen=True):
    """The campaign exists."""

    name: Name
    status: Status = "DRAFT"
    timezone: str | None = None
    language: Annotated[str, Meta(min_length=1, max_length=35)] | None = None


class CampaignRenamed(Event, frozen=True):
    """The campaign has a new name."""

    name: Name


class CampaignStatusChanged(Event, frozen=True):
    """The campaign was started, paused, completed, archived or taken back to a draft."""

    status: Status


class ProspectAdded(ProspectEvent, frozen=True):
    """The prospect was enrolled in the campaign."""


class ProspectRemoved(ProspectEvent, frozen=True):
    """The prospect was taken off the campaign."""


class EmailSent(ProspectEvent, frozen=True):
    """An outbound touch: an e-mail."""


class InviteSent(ProspectEvent, frozen=True):
    """An outbound touch: a LinkedIn invitation."""


class LinkedInMessageSent(ProspectEvent, frozen=True):
    """An outbound touch: a LinkedIn message."""


class InviteAccepted(ProspectEvent, frozen=True):
    """The prospect accepted the invitation."""


class ReplyReceived(ProspectEvent, frozen=True):
    """The prospect answered, or (`automatic`) their out-of-office did."""

    channel: Literal["email", "linkedin"] | None = None
    automatic: bool = False


class ProspectInterested(ProspectEvent, frozen=True):
    """The prospect is now rated as interested."""


class ProspectNotInterested(ProspectEvent, frozen=True):
    """The prospect is now rated as not interested."""


class EmailOpened(ProspectEvent, frozen=True):
    """The prospect opened an e-mail."""


class EmailClicked(ProspectEvent, frozen=True):
    """The prospect followed a link in an e-mail."""


class EmailBounced(ProspectEvent, frozen=True):
    """An e-mail to the prospect came back."""


class ProspectUnsubscribed(ProspectEvent, frozen=True):
    """The prospect asked for no more e-mails."""


class MeetingBooked(ProspectEvent, frozen=True):
    """The prospect booked a meeting."""


class ProspectNeutral(ProspectEvent, frozen=True):
    """The prospect is now rated as neither interested nor not interested."""


class ReplyWasAutomatic(ProspectEvent, frozen=True):
    """The latest reply of the prospect that is not after this was an auto-reply, as was noticed later."""


class Retracted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The names of the event that a retraction takes back; where they were changed since, also its key."""

    id: EventId
    source: Source = ""
    key: Annotated[bytes, Meta(min_length=16, max_length=16)] | None = None  # never a worker's


class EventRetracted(Event, frozen=True):
    """An event of this journey, or without `prospect_id` of this campaign itself, never was."""

    retracts: Retracted
    prospect_id: ProspectId | None = None
    step: Step | None = None
    sender_id: SenderId | None = None
    variant: Variant | None = None


EVENTS: tuple[type[Event], ...] = (
    CampaignCreated,
    CampaignRenamed,
    CampaignStatusChanged,
    ProspectAdded,
    ProspectRemoved,
    EmailSent,
    InviteSent,
    LinkedInMessageSent,
    InviteAccepted,
    ReplyReceived,
    ProspectInterested,
    ProspectNotInterested,
    EmailOpened,
    EmailClicked,
    EmailBounced,
    ProspectUnsubscribed,
    MeetingBooked,
    ProspectNeutral,
    ReplyWasAutomatic,
    EventRetracted,
)

TOPICS = {event: get_topic(event) for event in EVENTS}
_BY_NAME = {event.__name__: event for event in EVENTS}
_FIELDS = {event: frozenset(event.__struct_fields__) for event in EVENTS}
_ANY_FIELDS = frozenset[str]().union(*_FIELDS.values())
_COMMON = _FIELDS[CampaignRenamed] - {"name"}
_RETRACTED = [field for field in msgspec.structs.fields(Retracted) if field.name != "key"]
_DEFAULTS = {
    event: {field.name: field.default for field in msgspec.structs.fields(event) if not field.required}
    for event in EVENTS
}

encode: Callable[[Event], bytes] = msgspec.json.Encoder().encode


class UndecodableError(Exception):
    """A stored event cannot be read: its topic is unknown here, or its state is damaged."""


class _Version(msgspec.Struct):
    class_version: int = 1


_version = msgspec.json.Decoder(_Version).decode


def decoder_of(event: type[Event]) -> Callable[[bytes], Event]:
    """Return what decodes the stored states of a class of events, those of its earlier versions too.

    A class whose fields change is declared `tag_field="class_version", tag=2`, which is stored with each event from
    then on, and has a static method `upcast_v1_v2` that changes an earlier state's fields in place, as the
    event-sourcing library's aggregates have. What is stored stays as it is.
    """
    decode = msgspec.json.Decoder(event).decode
    today = event.__struct_config__.tag or 1
    assert isinstance(today, int)

    def decode_any(state: bytes) -> Event:
        version = _version(state).class_version
        if version == today:
            return decode(state)
        if not 0 < version <= today:
            raise msgspec.DecodeError(f"there is no version {version}")
        fields = msgspec.json.decode(state)
        for earlier in range(version, today):
            getattr(event, f"upcast_v{earlier}_v{earlier + 1}")(fields)
        return msgspec.convert({**fields, "class_version": today}, event)

    return decode if today == 1 else decode_any


_DECODE = {TOPICS[event]: decoder_of(event) for event in EVENTS}


class RejectedError(Exception):
    """An event was refused for its form: `code` is stable, `errors` name the fields and what is expected."""

    def __init__(self, code: Code, error: str, *more: str) -> None:
        """Take the stable code of the first fault, and the texts for people, one for each fault."""
        super().__init__(error)
        self.code = code
        self.error = error
        self.errors = (error, *more)


def decode(topic: str, state: bytes) -> Event:
    """Return the stored event; raise UndecodableError where its topic or state is not understood."""
    try:
        return _DECODE[topic](state)
    except KeyError as error:
        msg = f"unknown topic {shown(topic)}"
        raise UndecodableError(msg) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = _NOT_TEXT.sub("?", f"damaged state of {topic}: {_of_later_version(topic, state) or error}")
        raise UndecodableError(msg) from error


def _of_later_version(topic: str, state: bytes) -> str | None:
    """Return, of a state that can't be decoded, that a later version of its class wrote it; None where none did."""
    event = _BY_NAME[topic.rpartition(":")[2]]
    today = event.__struct_config__.tag or 1
    assert isinstance(today, int)
    try:
        version = _version(state).class_version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return f"it is of version {version}, this program knows {event.__name__} up to {today}" if version > today else None


def canonical(event: Event) -> dict[str, object]:
    """Return an event's JSON fields: instants in UTC with ms, without absent and default values."""
    fields = {"id": event.id, "type": type(event).__name__, **msgspec.structs.asdict(event)}
    fields["occurred_at"] = format_instant(event.occurred_at)
    if event.campaign_key is not None:
        del fields["campaign_id"]  # it is derived from the key; a worker sends one of the two
    if isinstance(event, EventRetracted):
        fields["retracts"] = msgspec.to_builtins(msgspec.structs.replace(event.retracts, key=None))
    defaults = _DEFAULTS[type(event)]
    return {name: value for name, value in fields.items() if name not in defaults or value != defaults[name]}


def parse(fields: object, now: int) -> Event:  # noqa: C901 (the hot path, a check after the other)
    """Return the event of a worker's JSON object, checked; the only parser, whatever format the object came in.

    `now` is the server's clock in ms. Raises RejectedError, which names all fields that are wrong.
    """
    if not isinstance(fields, dict):
        raise RejectedError("malformed", f"event: expected a JSON object, got {json_type(fields)}")
    kind = fields.get("type")
    event = _BY_NAME.get(kind) if isinstance(kind, str) else None
    if event is None:
        raise _refusal(fields, now)
    known = {name: value for name, value in fields.items() if value is not None and name != "type"}
    if not known.keys() <= _FIELDS[event]:
        raise _refusal(fields, now)
    texts = [value for value in known.values() if type(value) is str]
    retracts = known.get("retracts")
    if isinstance(retracts, dict):
        known["retracts"] = retracts = {name: value for name, value in retracts.items() if value is not None}
        texts += [value for value in retracts.values() if type(value) is str]
        if "key" in retracts:
            raise _refusal(fields, now)
    if _NOT_TEXT.search("\n".join(texts)):
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
    return None if _NOT_TEXT.search(text) else text


def shown(text: str) -> str:
    """Return the text as an error may repeat it: at most 64 characters, nothing that can't be stored."""
    text = _NOT_TEXT.sub("?", text[: SHOWN_CHARACTERS + 1])
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


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
    event = _BY_NAME.get(kind) if isinstance(kind, str) else None
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
        f"{shown(kind)} is not a type of event{did_you_mean(kind, _BY_NAME) or f', {_EXPECTED_TYPE}'}",
    )


_EXPECTED_TYPE = f"expected one of {', '.join(_BY_NAME)}"


def _check_field(field: msgspec.structs.FieldInfo, value: object, now: int) -> None:
    """Raise _FaultError where a field is missing or wrong."""
    if isinstance(value, str) and _NOT_TEXT.search(value):
        raise _FaultError("invalid_field", "must not contain NUL or a lone surrogate")
    if field.name == "occurred_at":
        _instant(value, now)
    elif value is None:
        if field.required:
            instead = ", or campaign_key in its place" if field.name == "campaign_id" else ""
            raise _FaultError("invalid_field", f"is missing{instead}")
    elif field.name == "prospect_id" and type(value) is int:
        if abs(value) >= _MAX_PROSPECT:
            raise _FaultError("invalid_field", "expected at most 128 characters")
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
