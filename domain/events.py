"""Every kind of event that an outreach worker can post, a class each, and how it is stored.

This is the storage format. An event is stored as its class's topic (`domain.events:EmailSent`) and its fields as JSON,
so renaming a class or a field, or moving this module, changes what stored events mean. Add; do not rename.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from eventsourcing.utils import get_topic
from msgspec import Meta

from domain.instants import format_instant
from domain.texts import NOT_TEXT, shown

MAX_ID = 2**63 - 1  # campaigns and workspaces: a PostgreSQL bigint
INSTANT_BITS = 45  # an instant of an event, in ms: up to the year 3084

Status = Literal["DRAFT", "ACTIVE", "PAUSED", "COMPLETED", "ARCHIVED"]
MAX_EVENT_ID = 128
MAX_SOURCE = 256
MAX_PROSPECT_ID = 128
MAX_STEP = 10_000
MAX_SENDER_ID = 128
MAX_VARIANT = 64
MAX_NAME = 256
EventId = Annotated[str, Meta(min_length=1, max_length=MAX_EVENT_ID)]
Source = Annotated[str, Meta(max_length=MAX_SOURCE)]
ProspectId = Annotated[str, Meta(min_length=1, max_length=MAX_PROSPECT_ID)]
Step = Annotated[int, Meta(ge=0, le=MAX_STEP)]
SenderId = Annotated[str, Meta(min_length=1, max_length=MAX_SENDER_ID)]
Variant = Annotated[str, Meta(min_length=1, max_length=MAX_VARIANT)]
Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
MAX_CAMPAIGN_KEY = 256
CampaignKey = Annotated[str, Meta(min_length=1, max_length=MAX_CAMPAIGN_KEY)]
Code = Literal["conflict", "out_of_range", "unknown_type", "invalid_field", "malformed", "too_large"]


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
BY_NAME = {event.__name__: event for event in EVENTS}
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


def decode(topic: str, state: bytes) -> Event:
    """Return the stored event; raise UndecodableError where its topic or state is not understood."""
    try:
        return _DECODE[topic](state)
    except KeyError as error:
        msg = f"unknown topic {shown(topic)}"
        raise UndecodableError(msg) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = NOT_TEXT.sub("?", f"damaged state of {topic}: {_of_later_version(topic, state) or error}")
        raise UndecodableError(msg) from error


def _of_later_version(topic: str, state: bytes) -> str | None:
    """Return, of a state that can't be decoded, that a later version of its class wrote it; None where none did."""
    event = BY_NAME[topic.rpartition(":")[2]]
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
