"""Append facts to a workspace's log, each once whatever is sent how often, and read the log back."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID, uuid5

from eventsourcing.persistence import StoredEvent
from psycopg.errors import UniqueViolation
from psycopg.sql import SQL

from domain.events import TOPICS, Event, UndecodableError, decode, encode
from domain.recorder import Database, append, append_new, head_of

_NAMESPACE = UUID("5c1e9f3e-7c1d-5a53-9f0c-9d6c3f8f2b61")  # storage format: every stored fact's key is made with it

_READ = SQL("""
SELECT position, topic, state FROM stored_events
WHERE workspace_id = %(workspace_id)s AND position > %(after)s AND position <= %(upto)s
ORDER BY position LIMIT %(limit)s
""")


_SCANNED_AT_ONCE = 5_000


class Outcome(StrEnum):
    """What became of a fact: stored now, known already, or refused because its id names another fact."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Recorded(NamedTuple):
    """The outcome of each fact, in the order given, and the head of the log after it."""

    outcomes: list[Outcome]
    position: int


class LogRow(NamedTuple):
    """A stored fact as it lies in the log."""

    position: int
    topic: str
    state: bytes


def fact_id(event: Event) -> UUID:
    """Return the key that `source` and `id` give a fact; NUL can occur in neither, so no two facts share it."""
    return uuid5(_NAMESPACE, f"{event.source}\0{event.id}")


def record(database: Database, workspace_id: int, facts: Sequence[Event]) -> Recorded:
    """Append the facts in one transaction and return what became of each.

    `database` must not be inside a transaction: when this returns, what was accepted is on disk.
    Duplicates are rare, so the first try looks nothing up; where it meets a known fact, it is undone as a whole and
    the careful way tells new, duplicate and conflict apart.
    """
    first: dict[UUID, Event] = {}
    keys = [fact_id(fact) for fact in facts]
    for key, fact in zip(keys, facts, strict=True):
        first.setdefault(key, fact)
    if not first:
        return Recorded([], head_of(database, workspace_id))
    rows = [_stored(key, fact) for key, fact in first.items()]
    standing: dict[UUID, Event | None] = dict(first)
    try:
        position = append(database, workspace_id, rows)
        accepted = set(first)
    except UniqueViolation:
        known = append_new(database, workspace_id, rows)
        position, accepted = known.head, known.new
        standing.update({key: _read_standing(*state) for key, state in known.differing.items()})
    outcomes = []
    for key, fact in zip(keys, facts, strict=True):
        if key in accepted:
            accepted.discard(key)  # a repeat within the request is a duplicate of the first
            outcomes.append(Outcome.ACCEPTED)
        else:
            outcomes.append(Outcome.DUPLICATE if fact == standing[key] else Outcome.CONFLICT)
    return Recorded(outcomes, position)


def read(database: Database, workspace_id: int, *, after: int, upto: int, limit: int) -> list[LogRow]:
    """Return at most `limit` facts of the log in order, from behind position `after` up to and with `upto`."""
    parameters = {"workspace_id": workspace_id, "after": after, "upto": upto, "limit": limit}
    with database.cursor(binary=True) as cursor:
        return [LogRow(*row) for row in cursor.execute(_READ, parameters)]


def scan(database: Database, workspace_id: int, *, after: int, upto: int) -> Iterator[LogRow]:
    """Yield the facts of the log in order, from behind `after` up to and with `upto`, however many they are.

    Memory stays bounded; the caller holds a transaction for as long as it reads.
    """
    parameters = {"workspace_id": workspace_id, "after": after, "upto": upto, "limit": None}
    with database.cursor("scan", binary=True) as cursor:
        cursor.itersize = _SCANNED_AT_ONCE
        for row in cursor.execute(_READ, parameters):
            yield LogRow(*row)


def _stored(key: UUID, fact: Event) -> StoredEvent:
    return StoredEvent(originator_id=key, originator_version=1, topic=TOPICS[type(fact)], state=encode(fact))


def _read_standing(topic: str, state: bytes) -> Event | None:
    """Return the fact that stands under a known key; None where a newer version wrote it, which equals nothing here."""
    try:
        return decode(topic, state)
    except UndecodableError:
        return None
