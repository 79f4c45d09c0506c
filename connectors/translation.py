"""Translates what a tool has posted into events, by the tool's table; what can't be used is counted by name and reason.

An event's id is made of what makes the fact this one and no other, never of the delivery: a retry, a second hook and
a back-fill of the same fact make the same event, in any order.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from connectors.connection import Connection
from connectors.payload import Event, IgnoredError, MalformedError, Payload, decoded, opened
from connectors.table import Provider
from domain.texts import shown

UNNAMED = ""  # counts what names no event


@dataclass
class Translation:
    """The events of one body or export, and how much of it became none: by the provider's name of it and the reason."""

    events: list[Event] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of each event, the provider's name of what it was
    received: Counter[str] = field(default_factory=Counter)  # by the provider's name
    ignored: Counter[tuple[str, str]] = field(default_factory=Counter)
    malformed: Counter[tuple[str, str]] = field(default_factory=Counter)


def translate(
    provider: Provider,
    body: bytes,
    connection: Connection,
    received_at: int,
    headers: Mapping[str, str] | None = None,
) -> Translation:
    """Return the events of a posted body, of one delivery or a list of them; never raises for what the body says.

    `received_at` (ms since 1970) dates what carries no time of its own, where that moves no number.
    """
    try:
        document = decoded(body)
    except ValueError:
        translation = Translation()
        translation.received[UNNAMED] += 1
        translation.malformed[UNNAMED, "body: is no JSON"] += 1
        return translation
    return translate_payloads(
        provider, document if isinstance(document, list) else [document], connection, received_at, headers
    )


def translate_payloads(
    provider: Provider,
    payloads: Iterable[object],
    connection: Connection,
    received_at: int | None,
    headers: Mapping[str, str] | None = None,
) -> Translation:
    """Return the events of decoded payloads; with no `received_at` all that carries no time is ignored."""
    translation = Translation()
    names: set[object] = set()  # of campaigns: they come with each of their payloads, once is enough
    lowered = {name.lower(): value for name, value in (headers or {}).items()}
    for payload in payloads:
        name = UNNAMED
        try:
            reading = Payload(provider, opened(provider, payload, lowered), connection, received_at)
            name = shown(reading.name)
            events = reading.events()
        except IgnoredError as ignored:
            translation.ignored[name, str(ignored)] += 1
        except MalformedError as malformed:
            translation.malformed[name, str(malformed)] += 1
        else:
            new = [event for event in events if event["id"] not in names]
            translation.events += new
            translation.names += [name] * len(new)
            names.update(event["id"] for event in events if event["type"] == "CampaignRenamed")
        translation.received[name] += 1
    return translation
