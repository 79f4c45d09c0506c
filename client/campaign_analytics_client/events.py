"""One method for each kind of event, for whatever has a `send`: the client, a batch, the test double."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from datetime import timezone as zone
from typing import Any, Callable, NamedTuple, Union, overload

from campaign_analytics_client.errors import InvalidEventError

MAX_EVENT_BYTES = 64 * 1024  # of JSON; a valid event has a few hundred
Instant = Union[datetime, str]  # a datetime with a time zone, or RFC 3339 with an offset


class Prepared(NamedTuple):
    """An event as it is kept and sent: its id, and the whole of it as JSON in UTF-8."""

    id: str
    body: bytes


def prepare(event: Mapping[str, Any], now: Callable[[], datetime]) -> Prepared:
    """Return an event ready to be kept, with an id of its own where it has none.

    A field that is None is absent. `now` gives the instant of an event without `occurred_at`. What else is wrong
    with an event the server says, and it ends among the dead letters; here only what could never be sent is refused.
    Raises InvalidEventError.
    """
    if not isinstance(event, Mapping):
        raise InvalidEventError("event: expected a mapping of fields")
    fields = {name: value for name, value in event.items() if value is not None}
    if not all(isinstance(name, str) for name in fields):
        raise InvalidEventError("event: the names of its fields must be strings")
    if not fields.get("type") or not isinstance(fields["type"], str):
        raise InvalidEventError("type: expected the name of a kind of event, such as EmailSent")
    if ("campaign_id" in fields) == ("campaign_key" in fields):
        raise InvalidEventError("campaign_id: expected exactly one of campaign_id and campaign_key")
    if "occurred_at" not in fields:
        if "id" in fields:
            # A repeated call would say another time, and the server would refuse it as a conflict.
            raise InvalidEventError("occurred_at: is needed beside an id of your own")
        fields["occurred_at"] = now()
    if "id" not in fields:
        fields["id"] = uuid.uuid4().hex
    elif not isinstance(fields["id"], str):
        raise InvalidEventError("id: expected a string")
    return Prepared(fields["id"], _encoded(fields))


def _encoded(fields: dict[str, Any]) -> bytes:
    try:
        body = _encode(fields).encode()
    except UnicodeEncodeError as error:
        raise InvalidEventError("event: a text has a lone surrogate, which UTF-8 can't hold") from error
    except RecursionError as error:
        raise InvalidEventError("event: is nested too deep") from error
    except InvalidEventError:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidEventError(f"event: is not JSON: {error}") from error
    if len(body) > MAX_EVENT_BYTES:
        raise InvalidEventError(f"event: has {len(body):,} bytes of JSON, at most {MAX_EVENT_BYTES:,} are allowed")
    return body


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidEventError("occurred_at: expected a datetime with a time zone")
        return value.astimezone(zone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode


class ProspectCall(NamedTuple):
    """A method that sends one kind of event about a prospect."""

    send: Callable[[dict[str, Any]], str]
    kind: str

    def __call__(
        self,
        prospect_id: str | int,
        *,
        campaign_id: int | None = None,
        campaign_key: str | None = None,
        occurred_at: Instant | None = None,
        id: str | None = None,
        source: str | None = None,
        step: int | None = None,
        sender_id: str | None = None,
        variant: str | None = None,
    ) -> str:
        """Send the event and return its id.

        Exactly one of `campaign_id` and `campaign_key` (`provider:key`) is needed. `occurred_at` is now where it is
        absent; `id` is made where it is absent. Raises InvalidEventError, and what `send` raises.
        """
        return self.send(
            {
                "id": id,
                "source": source,
                "type": self.kind,
                "campaign_id": campaign_id,
                "campaign_key": campaign_key,
                "occurred_at": occurred_at,
                "prospect_id": prospect_id,
                "step": step,
                "sender_id": sender_id,
                "variant": variant,
            }
        )


class ProspectMethod:
    """Declares the method of one kind of event about a prospect."""

    def __init__(self, kind: str, meaning: str) -> None:
        """Take the event's type, and what it means."""
        self.kind = kind
        self.__doc__ = meaning

    @overload
    def __get__(self, sender: None, owner: object = None) -> ProspectMethod: ...

    @overload
    def __get__(self, sender: EventMethods, owner: object = None) -> ProspectCall: ...

    def __get__(self, sender: EventMethods | None, owner: object = None) -> ProspectMethod | ProspectCall:
        """Return the method of this sender."""
        return self if sender is None else ProspectCall(sender.send, self.kind)


class EventMethods:
    """The methods, one for each kind of event; each returns the event's id."""

    def send(self, event: Mapping[str, Any]) -> str:
        """Send an event of any kind, given as its fields; return its id."""
        raise NotImplementedError

    prospect_added = ProspectMethod("ProspectAdded", "The prospect was enrolled in the campaign.")
    prospect_removed = ProspectMethod("ProspectRemoved", "The prospect was taken off the campaign.")
    email_sent = ProspectMethod("EmailSent", "An outbound touch: an e-mail.")
    invite_sent = ProspectMethod("InviteSent", "An outbound touch: a LinkedIn invitation.")
    linkedin_message_sent = ProspectMethod("LinkedInMessageSent", "An outbound touch: a LinkedIn message.")
    invite_accepted = ProspectMethod("InviteAccepted", "The prospect accepted the invitation.")
    prospect_interested = ProspectMethod("ProspectInterested", "The prospect is now rated as interested.")
    prospect_not_interested = ProspectMethod("ProspectNotInterested", "The prospect is now rated as not interested.")
    prospect_neutral = ProspectMethod("ProspectNeutral", "The prospect is now rated as neither.")
    reply_was_automatic = ProspectMethod("ReplyWasAutomatic", "The latest reply not after it was an auto-reply.")
    email_opened = ProspectMethod("EmailOpened", "The prospect opened an e-mail.")
    email_clicked = ProspectMethod("EmailClicked", "The prospect followed a link in an e-mail.")
    email_bounced = ProspectMethod("EmailBounced", "An e-mail to the prospect came back.")
    prospect_unsubscribed = ProspectMethod("ProspectUnsubscribed", "The prospect asked for no more e-mails.")
    meeting_booked = ProspectMethod("MeetingBooked", "The prospect booked a meeting.")

    def reply_received(
        self,
        prospect_id: str | int,
        *,
        campaign_id: int | None = None,
        campaign_key: str | None = None,
        occurred_at: Instant | None = None,
        id: str | None = None,
        source: str | None = None,
        step: int | None = None,
        sender_id: str | None = None,
        variant: str | None = None,
        channel: str | None = None,
        automatic: bool | None = None,
    ) -> str:
        """Send that the prospect answered, by `email` or `linkedin`; `automatic` where it is an auto-reply."""
        return self.send(
            {
                "id": id,
                "source": source,
                "type": "ReplyReceived",
                "campaign_id": campaign_id,
                "campaign_key": campaign_key,
                "occurred_at": occurred_at,
                "prospect_id": prospect_id,
                "step": step,
                "sender_id": sender_id,
                "variant": variant,
                "channel": channel,
                "automatic": automatic,
            }
        )

    def event_retracted(
        self,
        retracts: tuple[str, str],
        *,
        prospect_id: str | int | None = None,
        campaign_id: int | None = None,
        campaign_key: str | None = None,
        occurred_at: Instant | None = None,
        id: str | None = None,
        source: str | None = None,
    ) -> str:
        """Send that an event of this prospect, or without one of the campaign, never was: `(its id, its source)`."""
        return self.send(
            {
                "id": id,
                "source": source,
                "type": "EventRetracted",
                "campaign_id": campaign_id,
                "campaign_key": campaign_key,
                "occurred_at": occurred_at,
                "prospect_id": prospect_id,
                "retracts": {"id": retracts[0], "source": retracts[1]},
            }
        )

    def campaign_created(
        self,
        name: str,
        *,
        campaign_id: int | None = None,
        campaign_key: str | None = None,
        occurred_at: Instant | None = None,
        id: str | None = None,
        source: str | None = None,
        status: str | None = None,
        timezone: str | None = None,
        language: str | None = None,
    ) -> str:
        """Send that the campaign exists; `status` is DRAFT where it is absent, `timezone` an IANA name."""
        return self.send(
            {
                "id": id,
                "source": source,
                "type": "CampaignCreated",
                "campaign_id": campaign_id,
                "campaign_key": campaign_key,
                "occurred_at": occurred_at,
                "name": name,
                "status": status,
                "timezone": timezone,
                "language": language,
            }
        )

    def campaign_renamed(
        self,
        name: str,
        *,
        campaign_id: int | None = None,
        campaign_key: str | None = None,
        occurred_at: Instant | None = None,
        id: str | None = None,
        source: str | None = None,
    ) -> str:
        """Send that the campaign has a new name."""
        return self.send(
            {
                "id": id,
                "source": source,
                "type": "CampaignRenamed",
                "campaign_id": campaign_id,
                "campaign_key": campaign_key,
                "occurred_at": occurred_at,
                "name": name,
            }
        )

    def campaign_status_changed(
        self,
        status: str,
        *,
        campaign_id: int | None = None,
        campaign_key: str | None = None,
        occurred_at: Instant | None = None,
        id: str | None = None,
        source: str | None = None,
    ) -> str:
        """Send that the campaign is now DRAFT, ACTIVE, PAUSED, COMPLETED or ARCHIVED."""
        return self.send(
            {
                "id": id,
                "source": source,
                "type": "CampaignStatusChanged",
                "campaign_id": campaign_id,
                "campaign_key": campaign_key,
                "occurred_at": occurred_at,
                "status": status,
            }
        )
