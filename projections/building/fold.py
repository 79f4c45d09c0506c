"""The fold: a batch of a log's events into the read rows of one generation; live and replay share it.

Events are appended to their journeys, and what they add (`increments.py`) to the rows of days and campaigns.
"""

from collections.abc import Callable, Sequence
from select import POLLOUT, poll

import msgspec
import numpy as np
from psycopg import OperationalError
from psycopg.sql import SQL, Literal

from domain.citus import Forms, insert_forms
from domain.recorder import Database
from projections.building import campaign_rows, day_rows
from projections.building.batch import Batch, EventsByJourney, FoldError, JourneyKey
from projections.building.generations import ReadRows
from projections.building.increments import Accumulator, Increments, require_intact

AT_ONCE = 8_000  # journeys that are written by one statement
LONG_BYTES = 8 * 1024  # of events; a longer journey is read by itself, so that the memory is bounded
_SEND_MS = 120_000  # a server that takes no byte for so long counts as away

# In the database the packed events of a journey are a column called `facts`.
# Append and return the full row, so each journey is looked up once.
_GROW = SQL("""
INSERT INTO journey AS j (workspace_id, generation, campaign_id, prospect_id, facts, details)
SELECT {workspace_id}, %(generation)s::bigint, k.campaign_id, k.prospect_id, k.facts, k.details
FROM {source} unnest(%(campaign_ids)b::bigint[], %(prospect_ids)b::text[], %(facts)b::bytea[], %(details)b::bytea[])
    AS k (campaign_id, prospect_id, facts, details)
{where}
ON CONFLICT (workspace_id, generation, campaign_id, prospect_id)
DO UPDATE SET facts = j.facts || excluded.facts, details = j.details || excluded.details
RETURNING campaign_id, prospect_id, CASE WHEN octet_length(facts) <= {long} THEN facts END
""")
_READ_JOURNEY = SQL("""
SELECT facts FROM journey WHERE workspace_id = %s AND generation = %s AND campaign_id = %s AND prospect_id = %s
""")
_READ_DETAILS = SQL("""
SELECT j.details
FROM unnest(%(campaign_ids)b::bigint[], %(prospect_ids)b::text[]) WITH ORDINALITY AS k (campaign_id, prospect_id, place)
CROSS JOIN LATERAL (
    SELECT details FROM journey
    WHERE workspace_id = %(workspace_id)s AND generation = %(generation)s
        AND campaign_id = k.campaign_id AND prospect_id = k.prospect_id
    LIMIT 1
) AS j
ORDER BY k.place
""")
_COPY_JOURNEYS = SQL("""
COPY journey (workspace_id, generation, campaign_id, prospect_id, facts, details) FROM STDIN (FORMAT binary)
""")


def growing(long_bytes: int) -> Forms:
    """Return the statement that appends events to journeys; it returns the events of those that are no longer."""
    return insert_forms(_GROW, long=Literal(long_bytes))  # Citus takes no parameter there


_GROW_JOURNEYS = growing(LONG_BYTES)


def fold(
    database: Database,
    rows: ReadRows,
    batch: Batch[EventsByJourney],
    *,
    empty: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Add a batch to the read rows.

    The caller holds a transaction, and is the only one that writes to these rows; `empty`: there are none yet.
    `meanwhile` is called at most once, while PostgreSQL is busy. Raises FoldError, and nothing is written, for an
    event that can't be folded because a row is damaged.
    """
    if empty:
        added = copy_journeys(database, rows, batch.events)
        day_rows.copy(database, *rows, added.campaign_ids, added.days())
        campaign_rows.write(database, rows, added.campaigns(), batch.campaigns, {})
        return
    with database.transaction():
        added = _grow_journeys(database, rows, batch.events, meanwhile)
        try:
            day_rows.change(database, *rows, added.campaign_ids, added.cells)
        except (msgspec.DecodeError, OverflowError) as error:
            raise FoldError(batch.first, f"a row of its campaign's activity is damaged: {error}") from error
        touched = sorted({*added.campaign_ids, *batch.campaigns})
        stored = campaign_rows.load(database, rows, touched, batch.first)
        campaign_rows.write(database, rows, added.campaigns(), batch.campaigns, stored)


def copy_journeys(database: Database, rows: ReadRows, journeys: EventsByJourney) -> Increments:
    """Write journeys of which no rows are there yet, and return what they add."""
    accumulator = Accumulator()
    with database.cursor() as cursor, cursor.copy(_COPY_JOURNEYS) as copy:
        copy.set_types(["bigint", "bigint", "bigint", "text", "bytea", "bytea"])
        for piece in journeys.pieces(AT_ONCE):
            stored = piece.stored()
            for (campaign_id, prospect_id), events, details in zip(piece.keys, stored, piece.details, strict=True):
                copy.write_row((*rows, campaign_id, prospect_id, events, details))
            details_of = dict(zip(piece.keys, piece.details, strict=True))
            accumulator.add(piece, stored, lambda keys, details_of=details_of: [details_of[key] for key in keys])  # type: ignore[misc]
    return accumulator.increments()


def _grow_journeys(
    database: Database, rows: ReadRows, journeys: EventsByJourney, meanwhile: Callable[[], None]
) -> Increments:
    """Append events to their journeys, and return what they add. Raises FoldError where a journey is damaged."""
    accumulator = Accumulator()
    pending: tuple[EventsByJourney, list[bytes]] | None = None  # a piece that is written and yet to be added up

    def details(keys: Sequence[JourneyKey]) -> list[bytes]:
        cursor = database.execute(_READ_DETAILS, {**rows._asdict(), **_key_parameters(keys)}, binary=True)
        return [row[0] for row in cursor]

    with database.pipeline():
        for piece in journeys.pieces(AT_ONCE):
            cursor = database.cursor(binary=True)
            cursor.execute(_GROW_JOURNEYS.of(database), {**rows._asdict(), **_journey_parameters(piece)})
            _send(database)
            if pending:  # added up here while PostgreSQL writes the next piece
                accumulator.add(*pending, details)
            else:
                meanwhile()
            by_key = {(campaign_id, prospect_id): events for campaign_id, prospect_id, events in cursor.fetchall()}
            stored = [by_key[key] for key in piece.keys]
            long = np.array([events is None for events in stored])
            for each in piece.chosen(long).pieces(1):
                [(events,)] = database.execute(_READ_JOURNEY, (*rows, *each.keys[0]), binary=True).fetchall()
                accumulator.add(each, require_intact(each, [events]), details)
            short = piece.chosen(~long)
            pending = short, require_intact(short, [each for each in stored if each is not None])
        if pending:  # before the pipeline's end, which would leave the session idle, and that only for so long
            accumulator.add(*pending, details)
        return accumulator.increments()


def _send(database: Database) -> None:
    """Send PostgreSQL all that is queued; else the rest would be sent only once the answer is waited for."""
    writable = poll()
    writable.register(database, POLLOUT)
    while database.pgconn.flush():
        if not writable.poll(_SEND_MS):
            raise OperationalError("the database does not take what it is asked")


def _journey_parameters(piece: EventsByJourney) -> dict[str, object]:
    return {**_key_parameters(piece.keys), "facts": piece.stored(), "details": piece.details}


def _key_parameters(keys: Sequence[JourneyKey]) -> dict[str, object]:
    return {
        "campaign_ids": [campaign_id for campaign_id, _ in keys],
        "prospect_ids": [prospect_id for _, prospect_id in keys],
    }
