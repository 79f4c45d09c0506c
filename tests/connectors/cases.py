"""Reads the examples of each provider, and works out by hand which events they have to become."""

import copy
import hashlib
import hmac
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.connection import Connection
from connectors.payload import Event
from connectors.table import Provider
from connectors.translation import Translation, translate
from domain.campaign_keys import campaign_id_of_key
from domain.events import canonical
from domain.parsing import parse

KEY = b"a key of the tests, thirty-two b"
CONNECTION = Connection(prospect_key=KEY)
RECEIVED_AT = 1_772_793_000_000  # 2026-03-06T10:30:00Z
HOUR_OF_RECEIPT = 1_772_791_200_000
EXAMPLES = Path(__file__).parent / "examples"


@dataclass(frozen=True)
class Example:
    """A delivery, and what it has to become: events, or nothing for a reason."""

    provider: str
    body: Any
    headers: dict[str, str]
    events: list[Event]
    ignored: tuple[str, str] | None
    malformed: tuple[str, str] | None
    volatile: dict[str, Any]  # what differs in a retry, or in what a second hook posts

    def translated(self, provider: Provider, **changes: Any) -> Translation:
        """Return what it becomes."""
        body = json.dumps(changes.get("body", self.body)).encode()
        connection = changes.get("connection", CONNECTION)
        return translate(provider, body, connection, changes.get("received_at", RECEIVED_AT), self.headers)

    def retried(self) -> Any:
        """Return the body as a second hook posts it: other volatile fields, other order, an unknown field."""
        body = copy.deepcopy(self.body)
        for payload in body if isinstance(body, list) else [body]:
            if isinstance(payload, dict):
                for path, value in self.volatile.items():
                    *parents, last = path.split(".")
                    place = payload
                    for parent in parents:
                        place = place.setdefault(parent, {})
                    place[last] = value
                payload["attempt"] = 2
        return _reversed(body)


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _reversed(inner) for name, inner in reversed(value.items())}
    return value


def examples_of(name: str) -> list[Example]:
    """Return a provider's examples."""
    file = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return [
        Example(
            name,
            example["body"],
            example.get("headers", {}),
            expected(example) if "facts" in example else [],
            tuple(example["ignored"]) if "ignored" in example else None,
            tuple(example["malformed"]) if "malformed" in example else None,
            file["volatile"],
        )
        for example in file["examples"]
    ]


def expected(example: dict[str, Any]) -> list[Event]:
    """Return the events of an example by the published recipes, without the code that is tested."""
    campaign, source = example["campaign"], example["source"]
    named = {"campaign_id": campaign} if isinstance(campaign, int) else {"campaign_key": campaign}
    events: list[Event] = []
    prospect = ""
    for fields in example["facts"]:
        event = {**fields, "source": source, **named}
        if event["occurred_at"] == "@received":
            event["occurred_at"] = "2026-03-06T10:30:00.000Z"
        if "@" in (prospect := event.get("prospect_id", "")):
            event["prospect_id"] = prospect = hashed(prospect)
        events.append(event)
    own = example.get("id")
    if own is None:
        parts = {"@prospect": prospect, "@hour": str(HOUR_OF_RECEIPT)}
        own = digest([parts.get(part, part) for part in example["recipe"]])
    for number, event in enumerate(events, 1):
        event["id"] = own if number == 1 else f"{own}/{number}"
    if "name" in example:
        hour = events[0]["occurred_at"][:13] + ":00:00.000Z"  # type: ignore[index]
        key = str(campaign).partition(":")[2]
        parts_of_name = ["name", key, example["name"], str(milliseconds(hour))]
        event = {"id": digest(parts_of_name), "source": source, "type": "CampaignRenamed", **named}
        events.append({**event, "occurred_at": hour, "name": example["name"]})
    return events


def hashed(address: str) -> str:
    """Return how a prospect with this address (in lower case) is called."""
    return "e:" + hmac.new(KEY, address.encode(), hashlib.sha256).hexdigest()[:32]


def digest(parts: list[str]) -> str:
    """Return the id of a recipe."""
    return "1:" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def milliseconds(instant: str) -> int:
    """Return an instant in ms since 1970, as the domain reads it."""
    event = {"id": "i", "type": "CampaignRenamed", "campaign_id": 1, "name": "n", "occurred_at": instant}
    return parse(event, RECEIVED_AT).occurred_at


def checked(event: Event) -> Event:
    """Return an event as the domain understands it; raise where it refuses it."""
    fields = dict(event)
    if "campaign_key" in fields:
        fields["campaign_id"] = campaign_id_of_key(str(fields.pop("campaign_key")))
    return canonical(parse(fields, RECEIVED_AT))


def sorted_events(events: list[Event]) -> list[Event]:
    """Return events in an order of their own."""
    return sorted(events, key=lambda event: json.dumps(event, sort_keys=True))
