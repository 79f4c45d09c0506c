"""The fold: a batch of a log's events into the read rows of one generation; live and replay share it.

An event's whole effect is what its journey contributes with it less what it contributed without it. For most journeys
the packed events say that; only where one holds a retraction, or a reply that turned out to be automatic, its details
are needed too.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import compress, pairwise
from select import POLLOUT, poll
from typing import NamedTuple

import msgspec
import numpy as np
from psycopg import OperationalError
from psycopg.sql import SQL, Literal

from domain.citus import Forms, insert_forms
from domain.recorder import Database
from projections.building import day_rows
from projections.building.batch import Batch, EventsByJourney, FoldError, JourneyKey
from projections.journeys import campaign, columns, contributions, quarter_hours
from projections.journeys.campaign import History
from projections.journeys.columns import EventColumns, PackedEvents
from projections.journeys.groups import Integers, group_of_each, is_first, lengths_of, offsets_of
from projections.journeys.quarter_hours import QUARTER_MS, Cells, Days
from projections.metrics import MEASURES

AT_ONCE = 8_000  # journeys that are written by one statement
LONG_BYTES = 8 * 1024  # of events; a longer journey is read by itself, so that the memory is bounded
_JOURNEYS_AT_ONCE = 4_000  # that are added up at once
_EVENTS_AT_ONCE = 250_000  # about so many are added up at once, for the memory again
_SEND_MS = 120_000  # a server that takes no byte for so long counts as away
assert _JOURNEYS_AT_ONCE <= columns.MOST_SORTED, (
    f"journey index and event must fit in 63 bits together: lower _JOURNEYS_AT_ONCE to {columns.MOST_SORTED}"
)

# In the database the packed events of a journey, and the number of a campaign's events, are columns called `facts`.
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
_LOAD_CAMPAIGNS = SQL("""
SELECT campaign_id, about, totals, facts, counted FROM campaign
WHERE workspace_id = %(workspace_id)s AND generation = %(generation)s AND campaign_id = ANY(%(campaign_ids)b)
""")
_WRITE = SQL("""
INSERT INTO campaign AS c (workspace_id, generation, campaign_id, about, name, status, totals, facts, counted)
SELECT {workspace_id}, %(generation)s::bigint, k.campaign_id, k.about, k.name, k.status, k.totals::bigint[],
    k.facts, k.counted
FROM {source} unnest(%(campaign_ids)b::bigint[], %(abouts)b::bytea[], %(names)b::text[], %(statuses)b::text[],
    %(totals)b::text[], %(facts)b::bigint[], %(counted)b::bigint[])
    AS k (campaign_id, about, name, status, totals, facts, counted)
{where}
ON CONFLICT (workspace_id, generation, campaign_id) DO UPDATE
SET about = excluded.about, name = excluded.name, status = excluded.status, totals = excluded.totals,
    facts = excluded.facts, counted = excluded.counted
""")
_WRITE_CAMPAIGNS = insert_forms(_WRITE)


def growing(long_bytes: int) -> Forms:
    """Return the statement that appends events to journeys; it returns the events of those that are no longer."""
    return insert_forms(_GROW, long=Literal(long_bytes))  # Citus takes no parameter there


_GROW_JOURNEYS = growing(LONG_BYTES)


class ReadRows(NamedTuple):
    """Names the read rows of one generation of one workspace."""

    workspace_id: int
    generation: int


# Returns the stored details of journeys, all of each, in order of these keys.
ReadDetails = Callable[[Sequence[JourneyKey]], Sequence[bytes]]


class Increments(NamedTuple):
    """What new events add to campaigns: to their sums by quarter hour, and to the numbers of their events.

    The owners of the sums are indices into `campaign_ids`. `counted` is by how many more events count; it is
    negative where retractions came.
    """

    campaign_ids: list[int]
    cells: Cells
    events: dict[int, int]
    counted: dict[int, int]

    def campaigns(self) -> "dict[int, CampaignRow]":
        """Return what is added to each campaign's row."""
        totals = quarter_hours.totals(self.cells, len(self.campaign_ids)).tolist()
        return {
            campaign_id: CampaignRow(campaign.NOTHING, sums, self.events[campaign_id], self.counted[campaign_id])
            for campaign_id, sums in zip(self.campaign_ids, totals, strict=True)
        }

    def days(self) -> Days:
        """Return what is added as days are stored. Raises OverflowError where a sum is negative or too great."""
        return quarter_hours.packed(self.cells)


class Accumulator:
    """Adds up what new events add."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._indices: dict[int, int] = {}
        self._cells: list[Cells] = []
        self._stored: dict[int, int] = defaultdict(int)
        self._counted: dict[int, int] = defaultdict(int)

    def add(self, new: EventsByJourney, stored: Sequence[bytes], details: ReadDetails) -> None:
        """Add what new events contribute; `stored` are the events of each of their journeys, the new ones last.

        Raises FoldError where the details of a journey are needed and damaged.
        """
        events = np.cumsum(lengths_of(stored) // PackedEvents.BYTES)
        pieces = np.arange(len(stored)) // _JOURNEYS_AT_ONCE + events // _EVENTS_AT_ONCE
        bounds = [*np.flatnonzero(is_first(pieces)).tolist(), len(stored)]
        for first, end in pairwise(bounds):
            self._add(new.part(first, end), stored[first:end], details)

    def _add(self, new: EventsByJourney, stored: Sequence[bytes], details: ReadDetails) -> None:
        offsets = offsets_of(lengths_of(stored) // PackedEvents.BYTES)
        journeys = group_of_each(offsets)
        is_new = np.arange(journeys.size) >= (offsets[1:] - new.counts)[journeys]
        events = PackedEvents.read(stored)
        need_details = np.zeros(len(stored), np.bool_)
        need_details[journeys[events.need_details]] = True
        if need_details.any():
            self._add_with_details(new.chosen(need_details), list(compress(stored, need_details)), details)
            if not need_details.all():
                self._add(new.chosen(~need_details), list(compress(stored, ~need_details)), details)
            return
        for (campaign_id, _), number in zip(new.keys, new.counts.tolist(), strict=True):
            self._stored[campaign_id] += number
            self._counted[campaign_id] += number
        journeys, events, is_new = columns.in_order(journeys, events, is_new)
        changes = contributions.changes(journeys, events, is_new)
        quarters = events[changes.dating].instants // QUARTER_MS
        campaigns = self._campaigns_of(new)[journeys[changes.dating]]
        cells = quarter_hours.cells(campaigns, quarters, changes.places, changes.values)
        self._cells.append(quarter_hours.summed([cells]))

    def _add_with_details(self, new: EventsByJourney, stored: Sequence[bytes], details: ReadDetails) -> None:
        """Do as `_add` for journeys in which a retraction or `ReplyWasAutomatic` decides how other events count."""
        events = _read(new, list(zip(stored, details(new.keys), strict=True)))
        first_new = np.cumsum(lengths_of(stored) // PackedEvents.BYTES) - new.counts  # of each journey
        is_new = np.arange(len(events.events)) >= first_new[events.journeys]
        for (campaign_id, _), number in zip(new.keys, new.counts.tolist(), strict=True):
            self._stored[campaign_id] += number
        campaigns = self._campaigns_of(new)
        for sign, counted in ((1, columns.counting(events)), (-1, columns.counting(events.chosen(~is_new)))):
            numbers = np.bincount(counted.journeys, minlength=len(new.keys)).tolist()
            for (campaign_id, _), number in zip(new.keys, numbers, strict=True):
                self._counted[campaign_id] += sign * number
            places, values, dating = contributions.contributions(counted.journeys, counted.events)
            quarters = counted.instants[dating] // QUARTER_MS
            cells = quarter_hours.cells(campaigns[counted.journeys[dating]], quarters, places, sign * values)
            self._cells.append(quarter_hours.summed([cells]))

    def _campaigns_of(self, new: EventsByJourney) -> Integers:
        """Return the index of each journey's campaign; one that is new gets the next index."""
        return np.array([self._indices.setdefault(each, len(self._indices)) for each, _ in new.keys], np.int64)

    def increments(self) -> Increments:
        """Return what was added."""
        cells = quarter_hours.summed(self._cells) if len(self._cells) != 1 else self._cells[0]
        return Increments(list(self._indices), cells, dict(self._stored), dict(self._counted))


class CampaignRow(NamedTuple):
    """A campaign's own row: what is known of it, its sums in order of `MEASURES`, and the numbers of its events.

    `events` are those of its prospects that are stored, `counted` those and its own that count.
    """

    history: History = campaign.NOTHING
    totals: Sequence[int] = (0,) * len(MEASURES)
    events: int = 0
    counted: int = 0

    def plus(self, more: "CampaignRow") -> "CampaignRow":
        """Return the row with what prospects' events add to it."""
        totals = [one + other for one, other in zip(self.totals, more.totals, strict=True)]
        return self._replace(totals=totals, events=self.events + more.events, counted=self.counted + more.counted)


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
        write_campaigns(database, rows, added.campaigns(), batch.campaigns, {})
        return
    with database.transaction():
        added = _grow_journeys(database, rows, batch.events, meanwhile)
        try:
            day_rows.change(database, *rows, added.campaign_ids, added.cells)
        except (msgspec.DecodeError, OverflowError) as error:
            raise FoldError(batch.first, f"a row of its campaign's activity is damaged: {error}") from error
        touched = sorted({*added.campaign_ids, *batch.campaigns})
        stored = _load_campaigns(database, rows, touched, batch.first)
        write_campaigns(database, rows, added.campaigns(), batch.campaigns, stored)


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
                accumulator.add(each, _intact(each, [events]), details)
            short = piece.chosen(~long)
            pending = short, _intact(short, [each for each in stored if each is not None])
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


def _intact(new: EventsByJourney, stored: list[bytes]) -> list[bytes]:
    """Return what is stored of journeys; raise FoldError, for the first new event of a damaged one, where any is."""
    intact = columns.are_intact(stored)
    if not intact.all():
        raise _damaged(new.chosen(~intact))
    return stored


def _read(new: EventsByJourney, stored: Sequence[tuple[bytes, bytes]]) -> EventColumns:
    """Return all events of journeys; raise FoldError, for the first new event of a damaged one, where any is."""
    try:
        return columns.read(stored)
    except msgspec.DecodeError as error:
        if len(stored) == 1:
            raise _damaged(new) from error
    intact = [_has_details(each) for each in stored]
    raise _damaged(new.chosen(~np.array(intact)))


def _has_details(stored: tuple[bytes, bytes]) -> bool:
    try:
        columns.read([stored])
    except msgspec.DecodeError:
        return False
    return True


def _damaged(journeys: EventsByJourney) -> FoldError:
    positions = map(columns.first_position, journeys.details, journeys.counts.tolist())
    return FoldError(min(positions), "its journey's row is damaged")


def _load_campaigns(
    database: Database, rows: ReadRows, campaign_ids: Sequence[int], blamed: int
) -> dict[int, CampaignRow]:
    """Return the rows of campaigns; raise FoldError, which blames the event at this position, where one is damaged."""
    parameters = {**rows._asdict(), "campaign_ids": campaign_ids}
    with database.cursor(binary=True) as cursor:
        cursor.execute(_LOAD_CAMPAIGNS, parameters)
        try:
            stored = {row[0]: CampaignRow(campaign.unpack(row[1]), *row[2:]) for row in cursor}
        except msgspec.DecodeError as error:
            raise FoldError(blamed, f"its campaign's row is damaged: {error}") from error
    if any(len(each.totals) != len(MEASURES) for each in stored.values()):
        raise FoldError(blamed, "its campaign's row is damaged: other sums are expected")
    return stored


def write_campaigns(
    database: Database,
    rows: ReadRows,
    added: Mapping[int, CampaignRow],
    histories: Mapping[int, History],
    stored: Mapping[int, CampaignRow],
) -> None:
    """Add what prospects' events add, and the campaigns' own, to the campaigns' rows, of which `stored` exist."""
    written = []
    for campaign_id in sorted(added.keys() | histories.keys()):
        current = stored.get(campaign_id, CampaignRow())
        history = campaign.merged(current.history, histories.get(campaign_id, campaign.NOTHING))
        about = campaign.about(history)
        row = current.plus(added.get(campaign_id, CampaignRow()))
        name, status = about.name and about.name[2], about.status and about.status[2]
        counted = row.counted + len(history.counting()) - len(current.history.counting())
        sums = f"{{{','.join(map(str, row.totals))}}}"
        written.append((campaign_id, campaign.pack(history), name, status, sums, row.events, counted))
    names = ("campaign_ids", "abouts", "names", "statuses", "totals", "facts", "counted")
    parameters = [list(column) for column in zip(*written, strict=True)] or [[] for _ in names]
    database.execute(_WRITE_CAMPAIGNS.of(database), {**rows._asdict(), **dict(zip(names, parameters, strict=True))})
