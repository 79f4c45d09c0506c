"""Reads one payload by its provider's table: which events it becomes, or why it becomes none."""

import hashlib
from collections.abc import Iterable, Mapping
from itertools import count

import msgspec

from connectors.connection import Connection
from connectors.prospects import prospect_of_address
from connectors.reading import find, instant_of, is_one_of, newest_of, text_of, whole_of
from connectors.table import Choice, Fact, Provider, Recipe, Rule
from domain.events import MAX_ID, MAX_NAME, MAX_SENDER_ID, MAX_STEP, MAX_VARIANT
from domain.instants import format_instant
from domain.texts import shown

RECIPE_VERSION = "1"  # stands before each id that is made here; a recipe never changes under the same one
Event = dict[str, object]  # as its JSON says it at `POST events/`

_HOUR_MS = 3_600_000


class IgnoredError(Exception):
    """The delivery is understood, and is nothing for us."""


class MalformedError(Exception):
    """The delivery would be for us, if it could be read."""


def decoded(text: str | bytes) -> object:
    """Return the JSON value of a text, a leading BOM skipped; raise ValueError where it is none."""
    try:
        document: object = msgspec.json.decode(text.removeprefix(b"\xef\xbb\xbf") if isinstance(text, bytes) else text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError("expected JSON") from error
    return document


def recipe_id(parts: Iterable[str]) -> str:
    """Return an id of 34 characters: the version, `:`, 32 hexadecimal digits of SHA-256 over the parts, one a line."""
    return f"{RECIPE_VERSION}:{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:32]}"


def opened(provider: Provider, payload: object, headers: Mapping[str, str]) -> dict[str, object]:
    """Return the payload with the envelope taken off, and the headers beside it."""
    if not isinstance(payload, dict):
        raise MalformedError("delivery: is no JSON object")
    inner = find(payload, provider.envelope)
    if isinstance(inner, str):
        try:
            document = decoded(inner)
        except ValueError:
            document = None
        if isinstance(document, dict):
            payload = document
    return {**payload, "header": headers}


class Payload:
    """One payload, read by its provider's table; `name` is what the provider calls the event."""

    def __init__(
        self, provider: Provider, payload: dict[str, object], connection: Connection, received_at: int | None
    ) -> None:
        """Take an opened payload and the ms at which it was received; raise IgnoredError where it names no event."""
        self._provider = provider
        self._payload = payload
        self._connection = connection
        self._received_at = received_at
        name = find(payload, provider.event)
        if not isinstance(name, str):
            raise IgnoredError("names no event")
        self.name = name

    def events(self) -> list[Event]:
        """Return the events that the payload becomes."""
        kind, rule, facts = self._understood()
        campaign = self._campaign()
        prospect = None if all(fact.about_campaign for fact in facts) else self._prospect(rule)
        own_time = self._time(rule)
        if own_time is None and (self._received_at is None or not all(fact.about_campaign for fact in facts)):
            raise IgnoredError("without a time")
        # What is dated by its receipt is the same fact for an hour: its repeats are conflicts, and the first stands.
        identified_at = _hour_of(self._received_at or 0) if own_time is None else own_time
        occurred_at = format_instant((self._received_at or 0) if own_time is None else own_time)
        source = self._source()
        place = self._place(rule)
        known = {"@type": kind, "@campaign": campaign, "@prospect": prospect, "@time": str(identified_at)}
        known |= {f"@{name}": text_of(value) for name, value in place.items()}
        event_id = self._id(rule, known)
        events: list[Event] = []
        for fact, number in zip(facts, count(1)):
            event: Event = {"id": event_id if number == 1 else f"{event_id}/{number}", "source": source}
            event |= {"type": fact.type, **self._named(campaign)}
            if not fact.about_campaign:
                event |= {"prospect_id": prospect, **place}
            event["occurred_at"] = occurred_at
            event |= {"channel": fact.channel} if fact.channel else {}
            event |= {"automatic": True} if fact.automatic else {}
            event |= {"status": fact.status} if fact.status else {}
            events.append(event)
        if own_time is not None:
            events += self._renamed(campaign, source, _hour_of(own_time))
        return events

    def _understood(self) -> tuple[str, Rule, tuple[Fact, ...]]:
        """Return the event's first name, its rule and the facts; raise IgnoredError where it becomes none."""
        name = self.name.casefold()
        if name not in self._provider.rules:
            label = self._connection.categories.get(name.strip()) if self._provider.labels else None
            if label:
                return name, Rule(label), label
            raise IgnoredError(self._provider.reason(shown(name)) or "unknown event")
        kind, rule = self._provider.rules[name]
        for only in rule.only:
            value = find(self._payload, only.path)
            if not (only.or_absent if value is None else not only.values or is_one_of(value, only.values)):
                raise IgnoredError(only.reason)
        return kind, rule, self._chosen(rule.choice) if rule.choice else rule.facts

    def _chosen(self, choice: Choice) -> tuple[Fact, ...]:
        value = text_of(find(self._payload, choice.path))
        if value is None:
            raise IgnoredError(f"without {choice.path}")
        value = value.strip().casefold()
        own = self._connection.categories if choice.editable else {}
        if value not in own and value not in choice.facts:
            raise IgnoredError(f"not mapped: {shown(value)}")
        if facts := own.get(value, choice.facts.get(value, ())):
            return facts
        raise IgnoredError(f"not counted: {shown(value)}")

    def _campaign(self) -> str:
        value = find(self._payload, self._provider.campaign)
        campaign = text_of(value)
        if value is None or campaign == "0":  # tools that number campaigns say so that there is none
            raise IgnoredError("without a campaign")
        if campaign is None:
            raise MalformedError(f"{self._provider.campaign}: expected a string or an integer")
        return campaign

    def _named(self, campaign: str) -> Event:
        """Return the field that names the campaign in an event."""
        number = whole_of(campaign, text=True)
        own = self._provider.tags or self._connection.own_campaign_ids
        if own and number is not None and 1 <= number <= MAX_ID:
            return {"campaign_id": number}
        return {"campaign_key": campaign if self._provider.tags else f"{self._provider.name}:{campaign}"}

    def _prospect(self, rule: Rule) -> str:
        path = rule.prospect or self._provider.prospect
        value = find(self._payload, path)
        if value is None:
            raise IgnoredError("without a prospect")
        prospect = text_of(value)
        if prospect is None:
            raise MalformedError(f"{path}: expected a string or an integer")
        if self._provider.by_email and "@" not in prospect:
            raise MalformedError(f"{path}: expected an e-mail address")
        if self._provider.by_email or (self._provider.tags and "@" in prospect):
            connection = self._connection
            return prospect_of_address(prospect, connection.prospect_key, plain=connection.plain_prospects)
        return prospect

    def _time(self, rule: Rule) -> int | None:
        """Return when it happened, None where nobody says; raise MalformedError where that can't be read."""
        path = rule.time or self._provider.time
        value = newest_of(self._payload, rule.newest) if rule.newest else None
        value = find(self._payload, path) if value is None else value
        instant = instant_of(value)
        if value is not None and instant is None:
            raise MalformedError(f"{path}: expected a time with an offset")
        return instant

    def _source(self) -> str:
        tenant = text_of(find(self._payload, self._provider.tenant)) or self._connection.tenant
        return f"{self._provider.name}/{tenant}" if tenant else self._provider.name

    def _place(self, rule: Rule) -> dict[str, int | str]:
        """Return step, variant and sender, as far as they are there; what can't be one is junk, and left out."""
        provider = self._provider
        step = whole_of(find(self._payload, provider.step), text=provider.tags)
        step = None if step is None else step + provider.step_offset
        variant = text_of(find(self._payload, provider.variant))
        sender = text_of(find(self._payload, rule.sender or provider.sender))
        place: dict[str, int | str] = {}
        if step is not None and 0 <= step <= MAX_STEP:
            place["step"] = step
        if variant is not None and len(variant) <= MAX_VARIANT:
            place["variant"] = variant
        if sender is not None and len(sender) <= MAX_SENDER_ID:
            place["sender_id"] = sender
        return place

    def _id(self, rule: Rule, known: Mapping[str, str | None]) -> str:
        if self._provider.own_id:
            own = text_of(find(self._payload, self._provider.own_id))
            if own is None:
                raise MalformedError(f"{self._provider.own_id}: is missing")
            return own
        for recipe in rule.identity or self._provider.identity:
            parts = self._parts(recipe, known)
            if parts is not None:
                return recipe_id(parts)
        raise MalformedError("nothing to make an id of")

    def _parts(self, recipe: Recipe, known: Mapping[str, str | None]) -> list[str] | None:
        parts = []
        for part in recipe:
            path = part.removesuffix("?")
            value = known.get(path) if path.startswith("@") else text_of(find(self._payload, path))
            if value is None and not part.endswith("?"):
                return None
            parts.append(value or "")
        return parts

    def _renamed(self, campaign: str, source: str, hour: int) -> list[Event]:
        """Return the campaign's name as an event of the hour, so that its repeats are duplicates."""
        name = find(self._payload, self._provider.campaign_name)
        if not isinstance(name, str):
            return []
        name = name[:MAX_NAME]
        event_id = recipe_id(("name", campaign, name, str(hour)))
        event: Event = {"id": event_id, "source": source, "type": "CampaignRenamed", **self._named(campaign)}
        return [{**event, "occurred_at": format_instant(hour), "name": name}]


def _hour_of(instant: int) -> int:
    return instant - instant % _HOUR_MS
