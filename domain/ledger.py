"""Append events to a workspace's log, each once however often it is sent, and read the log back."""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from hashlib import sha1
from typing import NamedTuple
from uuid import UUID

from psycopg.errors import UniqueViolation
from psycopg.sql import SQL

from domain.events import TOPICS, Event, EventRetracted, Retracted, UndecodableError, decode, encode
from domain.forgotten import is_token
from domain.recorder import ALWAYS, Condition, Database, Rows, append, append_new, head_of

# Storage format: every stored event's key is made with it.
_NAMESPACE = UUID("5c1e9f3e-7c1d-5a53-9f0c-9d6c3f8f2b61").bytes

_READ = SQL("""
SELECT position, topic, state, uuid_send(originator_id) FROM stored_events
WHERE workspace_id = %(workspace_id)s AND position > %(after)s AND position <= %(upto)s
ORDER BY position LIMIT %(limit)s
""")

_READ_POSITIONS = SQL("""
SELECT position, topic, state FROM stored_events WHERE workspace_id = %s AND position = ANY (%s::bigint[])
""")

_TOPICS_OF = SQL("""
SELECT uuid_send(originator_id), topic FROM stored_events
WHERE workspace_id = %(workspace_id)s
    AND originator_id = ANY (SELECT encode(k.id, 'hex')::uuid FROM unnest(%(ids)b::bytea[]) AS k (id))
""")

_SCANNED_AT_ONCE = 5_000


class Outcome(StrEnum):
    """The outcome of an event: stored now, stored before, or refused because its id names another event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Recorded(NamedTuple):
    """The outcome of each event, in the order of the input, and the head of the log after the append."""

    outcomes: list[Outcome]
    position: int


PlainRow = tuple[int, str, bytes, bytes]  # what `LogRow` names


class LogRow(NamedTuple):
    """A stored event, a row of the log; its key is the 16 bytes that `event_key` made of its names."""

    position: int
    topic: str
    state: bytes
    key: bytes = b""  # empty where the query does not read it


class Prepared(NamedTuple):
    """Events with their keys and states, ready to be appended."""

    events: list[Event]
    keys: list[bytes]
    states: list[bytes]


def event_key(event: Event | Retracted) -> bytes:
    """Return the key of an event's `source` and `id`; neither can contain NUL, so no two events share a key.

    It is the 16 bytes of a UUID of version 5 (RFC 9562, section 5.5), made here since `uuid5` takes three times longer.
    """
    digest = sha1(_NAMESPACE + f"{event.source}\0{event.id}".encode(), usedforsecurity=False).digest()
    return b"%b%c%c%c%b" % (digest[:6], digest[6] & 0x0F | 0x50, digest[7], digest[8] & 0x3F | 0x80, digest[9:16])


def retracted_key(retracted: Retracted) -> bytes:
    """Return the key of the event that a retraction takes back."""
    return retracted.key or event_key(retracted)


def prepare(events: Iterable[Event]) -> Prepared:
    """Return the events with their keys and states."""
    events = list(events)
    return Prepared(events, [event_key(event) for event in events], [encode(event) for event in events])


def record(database: Database, workspace_id: int, events: Iterable[Event]) -> Recorded:
    """Append the events in one transaction and return their outcomes; see `record_prepared`."""
    return record_prepared(database, workspace_id, prepare(events))


def record_prepared(
    database: Database, workspace_id: int, prepared: Prepared, condition: Condition = ALWAYS
) -> Recorded:
    """Append the events in one transaction and return their outcomes.

    `database` must not be inside a transaction: when this returns, what was accepted is on disk.
    Duplicates are rare, so the first attempt looks nothing up; where it hits a stored event, it is rolled back, and
    `record_carefully` distinguishes new events, duplicates and conflicts. Raises ConditionError where the condition
    does not hold; both evaluate it under the lock of the log's head.
    """
    if not prepared.events:
        return Recorded([], head_of(database, workspace_id))
    distinct = without_repeats(prepared)
    try:
        position = append(database, workspace_id, rows(distinct), condition)
    except UniqueViolation:
        return record_carefully(database, workspace_id, prepared, condition)
    return all_new(prepared, distinct, position)


def record_carefully(
    database: Database, workspace_id: int, prepared: Prepared, condition: Condition = ALWAYS
) -> Recorded:
    """Append the events that are not stored yet; ConditionError as above."""
    if not prepared.events:
        return Recorded([], head_of(database, workspace_id))
    distinct = without_repeats(prepared)
    known = append_new(database, workspace_id, rows(distinct), condition)
    differing = {key: _read_standing(*state) for key, state in known.differing.items()}
    return _outcomes(prepared, distinct, known.new, differing, known.head)


def read(database: Database, workspace_id: int, *, after: int, upto: int, limit: int) -> list[LogRow]:
    """Return at most `limit` events of the log in order, with positions greater than `after` and up to `upto`."""
    return list(map(LogRow._make, read_plain(database, workspace_id, after=after, upto=upto, limit=limit)))


def read_plain(database: Database, workspace_id: int, *, after: int, upto: int, limit: int) -> list[PlainRow]:
    """Return what `read` returns, as plain tuples for the fold: making a `LogRow` takes as long as receiving it."""
    parameters = {"workspace_id": workspace_id, "after": after, "upto": upto, "limit": limit}
    with database.cursor(binary=True) as cursor:
        return cursor.execute(_READ, parameters).fetchall()


def read_positions(database: Database, workspace_id: int, positions: Sequence[int]) -> list[LogRow]:
    """Return the events at these positions of the log, in any order."""
    with database.cursor(binary=True) as cursor:
        return [LogRow(*row) for row in cursor.execute(_READ_POSITIONS, (workspace_id, list(positions)))]


def scan(database: Database, workspace_id: int, *, after: int, upto: int) -> Iterator[PlainRow]:
    """Yield the events of the log in order, with positions greater than `after` and up to `upto`, in batches.

    Memory stays bounded; the caller holds a transaction for as long as it reads.
    """
    parameters = {"workspace_id": workspace_id, "after": after, "upto": upto, "limit": None}
    with database.cursor("scan", binary=True) as cursor:
        cursor.execute(_READ, parameters)
        while rows := cursor.fetchmany(_SCANNED_AT_ONCE):
            yield from rows


def retracting_retractions(database: Database, workspace_id: int, events: Sequence[Event]) -> list[int]:
    """Return the places of new retractions, in a batch to be appended, that retract a retraction.

    The retracted one is stored, or stands earlier in the batch. A retraction that is stored itself is not among the
    places: sent again, it is a duplicate.
    """
    retractions = [(place, event) for place, event in enumerate(events) if isinstance(event, EventRetracted)]
    if not retractions:
        return []
    ids = {event_key(each) for _, event in retractions for each in (event, event.retracts)}
    with database.cursor(binary=True) as cursor:
        cursor.execute(_TOPICS_OF, {"workspace_id": workspace_id, "ids": list(ids)})
        known: dict[bytes, str] = dict(cursor.fetchall())
    places = []
    for place, event in enumerate(events):
        key = event_key(event)
        if key in known:
            continue
        if isinstance(event, EventRetracted) and known.get(event_key(event.retracts)) == TOPICS[EventRetracted]:
            places.append(place)
        else:
            known[key] = TOPICS[type(event)]
    return places


def all_new(prepared: Prepared, distinct: Prepared, position: int) -> Recorded:
    """Return the outcomes of events of which the first attempt has stored each distinct one."""
    return _outcomes(prepared, distinct, set(distinct.keys), {}, position)


def _outcomes(
    prepared: Prepared, distinct: Prepared, accepted: set[bytes], differing: dict[bytes, Event | None], position: int
) -> Recorded:
    """Return each event's outcome; a repeat within the batch is a duplicate of the first, or in conflict with it."""
    if len(accepted) == len(prepared.events):
        return Recorded([Outcome.ACCEPTED] * len(accepted), position)
    standing: dict[bytes, Event | None] = {**dict(zip(distinct.keys, distinct.events, strict=True)), **differing}
    outcomes = []
    for key, event in zip(prepared.keys, prepared.events, strict=True):
        if key in accepted:
            accepted.discard(key)
            outcomes.append(Outcome.ACCEPTED)
        else:
            outcomes.append(Outcome.DUPLICATE if _is_repeat(event, standing[key]) else Outcome.CONFLICT)
    return Recorded(outcomes, position)


def _is_repeat(event: Event, standing: Event | None) -> bool:
    """Return whether an event is the one that is stored under its key.

    One of a forgotten prospect, sent again with the id that is gone, can't be compared and counts as a repeat: a
    conflict would be kept as a rejection, and bring the id back.
    """
    prospect_id = getattr(standing, "prospect_id", None)
    return event == standing or (is_token(prospect_id) and getattr(event, "prospect_id", None) != prospect_id)


def rows(distinct: Prepared) -> Rows:
    """Return distinct events as they are stored."""
    topics = [TOPICS[type(event)] for event in distinct.events]
    return Rows(distinct.keys, [1] * len(topics), topics, distinct.states)


def without_repeats(prepared: Prepared) -> Prepared:
    """Return the first event of each key, in the order of the input."""
    places: dict[bytes, int] = {}
    for place, key in enumerate(prepared.keys):
        places.setdefault(key, place)
    if len(places) == len(prepared.keys):
        return prepared
    return Prepared(*([column[place] for place in places.values()] for column in prepared))  # type: ignore[arg-type]


def _read_standing(topic: str, state: bytes) -> Event | None:
    """Return the event stored under a key; None where a newer version wrote it, as it equals no event here."""
    try:
        return decode(topic, state)
    except UndecodableError:
        return None
