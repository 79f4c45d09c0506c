"""Append facts to a workspace's log, each once whatever is sent how often, and read the log back."""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from hashlib import sha1
from typing import NamedTuple
from uuid import UUID

from psycopg.errors import UniqueViolation
from psycopg.sql import SQL

from domain.events import TOPICS, Event, EventRetracted, Retracted, UndecodableError, decode, encode
from domain.forgotten import is_token
from domain.recorder import ALWAYS, Condition, Database, Rows, append, append_new, copy, head_of

# Storage format: every stored fact's key is made with it.
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
    """What became of a fact: stored now, known already, or refused because its id names another fact."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Recorded(NamedTuple):
    """The outcome of each fact, in the order given, and the head of the log after it."""

    outcomes: list[Outcome]
    position: int


PlainRow = tuple[int, str, bytes, bytes]  # what `LogRow` names


class LogRow(NamedTuple):
    """A stored fact as it lies in the log; its key is the 16 bytes that `fact_id` made of its names."""

    position: int
    topic: str
    state: bytes
    key: bytes = b""  # where a reader needs none


class Prepared(NamedTuple):
    """Facts with what is stored of them, ready to be recorded."""

    facts: list[Event]
    keys: list[bytes]
    states: list[bytes]


def fact_id(event: Event | Retracted) -> bytes:
    """Return the key that `source` and `id` give a fact; NUL can occur in neither, so no two facts share it.

    It is the 16 bytes of a UUID of version 5 (RFC 9562, section 5.5), made here since `uuid5` takes three times longer.
    """
    digest = sha1(_NAMESPACE + f"{event.source}\0{event.id}".encode(), usedforsecurity=False).digest()
    return b"%b%c%c%c%b" % (digest[:6], digest[6] & 0x0F | 0x50, digest[7], digest[8] & 0x3F | 0x80, digest[9:16])


def retracted_id(retracted: Retracted) -> bytes:
    """Return the key of the fact that a retraction takes back."""
    return retracted.key or fact_id(retracted)


def prepare(facts: Iterable[Event]) -> Prepared:
    """Return the facts with their keys and states."""
    facts = list(facts)
    return Prepared(facts, [fact_id(fact) for fact in facts], [encode(fact) for fact in facts])


def record(database: Database, workspace_id: int, facts: Iterable[Event]) -> Recorded:
    """Append the facts in one transaction and return what became of each; see `record_prepared`."""
    return record_prepared(database, workspace_id, prepare(facts))


def record_prepared(
    database: Database, workspace_id: int, prepared: Prepared, condition: Condition = ALWAYS
) -> Recorded:
    """Append the facts in one transaction and return what became of each.

    `database` must not be inside a transaction: when this returns, what was accepted is on disk.
    Duplicates are rare, so the first try looks nothing up; where it meets a known fact, it is undone as a whole and
    the careful way tells new, duplicate and conflict apart. Raises ConditionError where the condition does not hold;
    either way asks it while nobody else can append.
    """
    if not prepared.facts:
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
    """Append facts of which some are known already: look which, and append the others; ConditionError as above."""
    distinct = without_repeats(prepared)
    known = append_new(database, workspace_id, rows(distinct), condition)
    differing = {key: _read_standing(*state) for key, state in known.differing.items()}
    return _outcomes(prepared, distinct, known.new, differing, known.head)


def record_in_bulk(database: Database, workspace_id: int, prepared: Prepared, *, repeated: bool) -> Recorded:
    """Append thousands of facts as `record_prepared` does, by COPY; what is probably `repeated`, carefully at once."""
    if not prepared.facts:
        return Recorded([], head_of(database, workspace_id))
    if not repeated:
        distinct = without_repeats(prepared)
        try:
            position = copy(database, workspace_id, rows(distinct))
        except UniqueViolation:
            pass  # told apart below
        else:
            return all_new(prepared, distinct, position)
    return record_carefully(database, workspace_id, prepared)


def read(database: Database, workspace_id: int, *, after: int, upto: int, limit: int) -> list[LogRow]:
    """Return at most `limit` facts of the log in order, from behind position `after` up to and with `upto`."""
    return list(map(LogRow._make, read_plain(database, workspace_id, after=after, upto=upto, limit=limit)))


def read_plain(database: Database, workspace_id: int, *, after: int, upto: int, limit: int) -> list[PlainRow]:
    """Return what `read` returns, for who folds it: making a `LogRow` of each takes as long as to receive it."""
    parameters = {"workspace_id": workspace_id, "after": after, "upto": upto, "limit": limit}
    with database.cursor(binary=True) as cursor:
        return cursor.execute(_READ, parameters).fetchall()


def read_positions(database: Database, workspace_id: int, positions: Sequence[int]) -> list[LogRow]:
    """Return the facts at these positions of the log, in any order."""
    with database.cursor(binary=True) as cursor:
        return [LogRow(*row) for row in cursor.execute(_READ_POSITIONS, (workspace_id, list(positions)))]


def scan(database: Database, workspace_id: int, *, after: int, upto: int) -> Iterator[PlainRow]:
    """Yield the facts of the log in order, from behind `after` up to and with `upto`, however many they are.

    Memory stays bounded; the caller holds a transaction for as long as it reads.
    """
    parameters = {"workspace_id": workspace_id, "after": after, "upto": upto, "limit": None}
    with database.cursor("scan", binary=True) as cursor:
        cursor.execute(_READ, parameters)
        while rows := cursor.fetchmany(_SCANNED_AT_ONCE):
            yield from rows


def retracting_retractions(database: Database, workspace_id: int, facts: Sequence[Event]) -> list[int]:
    """Return the places, among facts that are not recorded yet, of new retractions of what is known as a retraction.

    Known is what is stored, and what comes before it among the facts. A retraction that is stored itself is none of
    them: sent again, it is what it was, a duplicate.
    """
    retractions = [(place, fact) for place, fact in enumerate(facts) if isinstance(fact, EventRetracted)]
    if not retractions:
        return []
    ids = {fact_id(each) for _, fact in retractions for each in (fact, fact.retracts)}
    with database.cursor(binary=True) as cursor:
        cursor.execute(_TOPICS_OF, {"workspace_id": workspace_id, "ids": list(ids)})
        known: dict[bytes, str] = dict(cursor.fetchall())
    found = []
    for place, fact in enumerate(facts):
        key = fact_id(fact)
        if key in known:
            continue
        if isinstance(fact, EventRetracted) and known.get(fact_id(fact.retracts)) == TOPICS[EventRetracted]:
            found.append(place)
        else:
            known[key] = TOPICS[type(fact)]
    return found


def all_new(prepared: Prepared, distinct: Prepared, position: int) -> Recorded:
    """Return what became of facts of which the first try has stored each distinct one."""
    return _outcomes(prepared, distinct, set(distinct.keys), {}, position)


def _outcomes(
    prepared: Prepared, distinct: Prepared, accepted: set[bytes], differing: dict[bytes, Event | None], position: int
) -> Recorded:
    """Tell of each fact what became of it; a repeat among them is a duplicate of the first, or in conflict with it."""
    if len(accepted) == len(prepared.facts):
        return Recorded([Outcome.ACCEPTED] * len(accepted), position)
    standing: dict[bytes, Event | None] = {**dict(zip(distinct.keys, distinct.facts, strict=True)), **differing}
    outcomes = []
    for key, fact in zip(prepared.keys, prepared.facts, strict=True):
        if key in accepted:
            accepted.discard(key)
            outcomes.append(Outcome.ACCEPTED)
        else:
            outcomes.append(Outcome.DUPLICATE if _is_repeat(fact, standing[key]) else Outcome.CONFLICT)
    return Recorded(outcomes, position)


def _is_repeat(fact: Event, standing: Event | None) -> bool:
    """Return whether a fact is the one that is stored under its key.

    One of a forgotten prospect, sent again with the id that is gone, can't be compared and counts as a repeat: a
    conflict would be kept as a rejection, and bring the id back.
    """
    prospect_id = getattr(standing, "prospect_id", None)
    return fact == standing or (is_token(prospect_id) and getattr(fact, "prospect_id", None) != prospect_id)


def rows(distinct: Prepared) -> Rows:
    """Return distinct facts as they are stored."""
    topics = [TOPICS[type(fact)] for fact in distinct.facts]
    return Rows(distinct.keys, [1] * len(topics), topics, distinct.states)


def without_repeats(prepared: Prepared) -> Prepared:
    """Return of each key the first fact, in the order given."""
    places: dict[bytes, int] = {}
    for place, key in enumerate(prepared.keys):
        places.setdefault(key, place)
    if len(places) == len(prepared.keys):
        return prepared
    return Prepared(*([column[place] for place in places.values()] for column in prepared))  # type: ignore[arg-type]


def _read_standing(topic: str, state: bytes) -> Event | None:
    """Return the fact that stands under a known key; None where a newer version wrote it, which equals nothing here."""
    try:
        return decode(topic, state)
    except UndecodableError:
        return None
