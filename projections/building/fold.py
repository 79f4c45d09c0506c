"""The fold: a batch of a log's events into the read rows of one generation; live and replay share it.

An event's whole effect is what its journey contributes with it less what it contributed without it.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from select import POLLOUT, poll
from typing import NamedTuple

import msgspec
import numpy as np
from psycopg import OperationalError
from psycopg.sql import SQL

from domain.recorder import Database
from projections.building import day_rows
from projections.building.batch import Batch, EventsByJourney, FoldError
from projections.journeys import campaign, columns, contributions, quarter_hours
from projections.journeys.campaign import About
from projections.journeys.columns import PackedEvents
from projections.journeys.groups import Integers, group_of_each, is_first, lengths_of, offsets_of
from projections.journeys.quarter_hours import QUARTER_MS, Cells, Days
from projections.metrics import MEASURES

AT_ONCE = 8_000  # journeys that are written by one statement
LONG_BYTES = 8 * 1024  # of events; a longer journey is read by itself, so that the memory is bounded
_JOURNEYS_AT_ONCE = 4_000  # that are added up at once
_EVENTS_AT_ONCE = 250_000  # about so many are added up at once, for the memory again
_SEND_MS = 120_000  # the server takes nothing for so long: it is away
assert _JOURNEYS_AT_ONCE <= columns.MOST_SORTED, (
    f"journey index and event must fit in 63 bits together: lower _JOURNEYS_AT_ONCE to {columns.MOST_SORTED}"
)

# In the database the packed events of a journey, and the number of a campaign's events, are columns called `facts`.
# Append and return the full row, so each journey is looked up once.
_GROW_JOURNEYS = SQL("""
INSERT INTO journey AS j (workspace_id, generation, campaign_id, prospect_id, facts, details)
SELECT %(workspace_id)s, %(generation)s, k.campaign_id, k.prospect_id, k.facts, k.details
FROM unnest(%(campaign_ids)b::bigint[], %(prospect_ids)b::text[], %(facts)b::bytea[], %(details)b::bytea[])
    AS k (campaign_id, prospect_id, facts, details)
ON CONFLICT (workspace_id, generation, campaign_id, prospect_id)
DO UPDATE SET facts = j.facts || excluded.facts, details = j.details || excluded.details
RETURNING campaign_id, prospect_id, CASE WHEN octet_length(facts) <= %(long)s THEN facts END
""")
_READ_JOURNEY = SQL("""
SELECT facts FROM journey WHERE workspace_id = %s AND generation = %s AND campaign_id = %s AND prospect_id = %s
""")
_COPY_JOURNEYS = SQL("""
COPY journey (workspace_id, generation, campaign_id, prospect_id, facts, details) FROM STDIN (FORMAT binary)
""")
_LOAD_CAMPAIGNS = SQL("""
SELECT campaign_id, about, totals, facts FROM campaign
WHERE workspace_id = %(workspace_id)s AND generation = %(generation)s AND campaign_id = ANY(%(campaign_ids)b)
""")
_WRITE_CAMPAIGNS = SQL("""
INSERT INTO campaign (workspace_id, generation, campaign_id, about, name, status, totals, facts)
SELECT %(workspace_id)s, %(generation)s, k.campaign_id, k.about, k.name, k.status, k.totals::bigint[], k.facts
FROM unnest(%(campaign_ids)b::bigint[], %(abouts)b::bytea[], %(names)b::text[], %(statuses)b::text[],
    %(totals)b::text[], %(facts)b::bigint[]) AS k (campaign_id, about, name, status, totals, facts)
ON CONFLICT (workspace_id, generation, campaign_id) DO UPDATE
SET about = excluded.about, name = excluded.name, status = excluded.status, totals = excluded.totals,
    facts = excluded.facts
""")


class ReadRows(NamedTuple):
    """Names the read rows of one generation of one workspace."""

    workspace_id: int
    generation: int


class Increments(NamedTuple):
    """What new events add to campaigns: to their sums by quarter hour, and to the numbers of their events.

    The owners of the sums are indices into `campaign_ids`.
    """

    campaign_ids: list[int]
    cells: Cells
    events: dict[int, int]

    def totals(self) -> dict[int, Integers]:
        """Return what is added to the sums of each campaign: shape (len(MEASURES),), int64."""
        return dict(zip(self.campaign_ids, quarter_hours.totals(self.cells, len(self.campaign_ids)), strict=True))

    def days(self) -> Days:
        """Return what is added as days are stored. Raises OverflowError where a sum is negative or too great."""
        return quarter_hours.packed(self.cells)


class Accumulator:
    """Adds up what new events add."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._indices: dict[int, int] = {}
        self._cells: list[Cells] = []
        self._events: dict[int, int] = defaultdict(int)

    def add(self, new: EventsByJourney, stored: Sequence[bytes]) -> None:
        """Add what new events contribute; `stored` are the events of each of their journeys, the new ones last."""
        events = np.cumsum(lengths_of(stored) // PackedEvents.BYTES)
        pieces = np.arange(len(stored)) // _JOURNEYS_AT_ONCE + events // _EVENTS_AT_ONCE
        bounds = [*np.flatnonzero(is_first(pieces)).tolist(), len(stored)]
        for first, end in pairwise(bounds):
            self._add(new.part(first, end), stored[first:end])

    def _add(self, new: EventsByJourney, stored: Sequence[bytes]) -> None:
        indices = [self._indices.setdefault(campaign_id, len(self._indices)) for campaign_id, _ in new.keys]
        for (campaign_id, _), number in zip(new.keys, new.counts.tolist(), strict=True):
            self._events[campaign_id] += number
        offsets = offsets_of(lengths_of(stored) // PackedEvents.BYTES)
        journeys = group_of_each(offsets)
        is_new = np.arange(journeys.size) >= (offsets[1:] - new.counts)[journeys]
        journeys, events, is_new = columns.in_order(journeys, PackedEvents.read(stored), is_new)
        changes = contributions.changes(journeys, events, is_new)
        owners = np.array(indices, np.int64)[journeys[changes.dating]]
        quarters = events[changes.dating].instants // QUARTER_MS
        self._cells.append(
            quarter_hours.summed([quarter_hours.cells(owners, quarters, changes.places, changes.values)])
        )

    def increments(self) -> Increments:
        """Return what was added."""
        cells = quarter_hours.summed(self._cells) if len(self._cells) != 1 else self._cells[0]
        return Increments(list(self._indices), cells, dict(self._events))


class CampaignRow(NamedTuple):
    """A campaign's own row: what is known of it, its sums in order of `MEASURES`, and the number of its events."""

    about: About = About()
    totals: Sequence[int] = (0,) * len(MEASURES)
    events: int = 0


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
        write_campaigns(database, rows, added.totals(), added.events, batch.campaigns, {})
        return
    with database.transaction():
        added = _grow_journeys(database, rows, batch.events, meanwhile)
        try:
            day_rows.change(database, *rows, added.campaign_ids, added.cells)
        except (msgspec.DecodeError, OverflowError) as error:
            raise FoldError(batch.first, f"a row of its campaign's activity is damaged: {error}") from error
        touched = sorted({*added.campaign_ids, *batch.campaigns})
        stored = _load_campaigns(database, rows, touched, batch.first)
        write_campaigns(database, rows, added.totals(), added.events, batch.campaigns, stored)


def copy_journeys(database: Database, rows: ReadRows, journeys: EventsByJourney) -> Increments:
    """Write journeys of which no rows are there yet, and return what they add."""
    accumulator = Accumulator()
    with database.cursor() as cursor, cursor.copy(_COPY_JOURNEYS) as copy:
        copy.set_types(["bigint", "bigint", "bigint", "text", "bytea", "bytea"])
        for piece in journeys.pieces(AT_ONCE):
            stored = piece.stored()
            for (campaign_id, prospect_id), events, details in zip(piece.keys, stored, piece.details, strict=True):
                copy.write_row((*rows, campaign_id, prospect_id, events, details))
            accumulator.add(piece, stored)
    return accumulator.increments()


def _grow_journeys(
    database: Database, rows: ReadRows, journeys: EventsByJourney, meanwhile: Callable[[], None]
) -> Increments:
    """Append events to their journeys, and return what they add. Raises FoldError where a journey is damaged."""
    accumulator = Accumulator()
    written: tuple[EventsByJourney, list[bytes]] | None = None
    with database.pipeline():
        for piece in journeys.pieces(AT_ONCE):
            cursor = database.cursor(binary=True)
            cursor.execute(_GROW_JOURNEYS, {**rows._asdict(), "long": LONG_BYTES, **_columns(piece)})
            _send(database)
            if written:  # added up here while PostgreSQL writes the next piece
                accumulator.add(*written)
            else:
                meanwhile()
            by_key = {(campaign_id, prospect_id): events for campaign_id, prospect_id, events in cursor.fetchall()}
            stored = [by_key[key] for key in piece.keys]
            long = np.array([events is None for events in stored])
            for each in piece.chosen(long).pieces(1):
                [(events,)] = database.execute(_READ_JOURNEY, (*rows, *each.keys[0]), binary=True).fetchall()
                accumulator.add(each, _intact(each, [events]))
            short = piece.chosen(~long)
            written = short, _intact(short, [each for each in stored if each is not None])
        if written:  # before the pipeline's end, which would leave the session idle, and that only for so long
            accumulator.add(*written)
        return accumulator.increments()


def _send(database: Database) -> None:
    """Send PostgreSQL all that is queued; else the rest would be sent only once the answer is waited for."""
    writable = poll()
    writable.register(database, POLLOUT)
    while database.pgconn.flush():
        if not writable.poll(_SEND_MS):
            raise OperationalError("the database does not take what it is asked")


def _columns(piece: EventsByJourney) -> dict[str, object]:
    return {
        "campaign_ids": [campaign_id for campaign_id, _ in piece.keys],
        "prospect_ids": [prospect_id for _, prospect_id in piece.keys],
        "facts": piece.stored(),
        "details": piece.details,
    }


def _intact(new: EventsByJourney, stored: list[bytes]) -> list[bytes]:
    """Return what is stored of journeys; raise FoldError, for the first new event of a damaged one, where any is."""
    intact = columns.are_intact(stored)
    if not intact.all():
        damaged = new.chosen(~intact)
        firsts = map(columns.first_position, damaged.details, damaged.counts.tolist())
        raise FoldError(min(firsts), "its journey's row is damaged")
    return stored


def _load_campaigns(
    database: Database, rows: ReadRows, campaign_ids: Sequence[int], first: int
) -> dict[int, CampaignRow]:
    parameters = {**rows._asdict(), "campaign_ids": campaign_ids}
    with database.cursor(binary=True) as cursor:
        cursor.execute(_LOAD_CAMPAIGNS, parameters)
        try:
            stored = {row[0]: CampaignRow(campaign.unpack(row[1]), row[2], row[3]) for row in cursor}
        except msgspec.DecodeError as error:
            raise FoldError(first, f"its campaign's row is damaged: {error}") from error
    if any(len(each.totals) != len(MEASURES) for each in stored.values()):
        raise FoldError(first, "its campaign's row is damaged: other sums are expected")
    return stored


def write_campaigns(  # noqa: PLR0913 (what is added, and to what)
    database: Database,
    rows: ReadRows,
    totals: Mapping[int, Integers],
    events: Mapping[int, int],
    abouts: Mapping[int, About],
    stored: Mapping[int, CampaignRow],
) -> None:
    """Add sums, numbers of events and what campaign events carry to the campaigns' rows, of which `stored` exist."""
    written = []
    for campaign_id in sorted(totals.keys() | abouts.keys()):
        before = stored.get(campaign_id, CampaignRow())
        about = campaign.merged(before.about, abouts.get(campaign_id, About()))
        added = totals[campaign_id].tolist() if campaign_id in totals else CampaignRow().totals
        sums = ",".join([str(one + more) for one, more in zip(before.totals, added, strict=True)])
        name, status = about.name and about.name[2], about.status and about.status[2]
        number = before.events + events.get(campaign_id, 0)
        written.append((campaign_id, campaign.pack(about), name, status, f"{{{sums}}}", number))
    names = ("campaign_ids", "abouts", "names", "statuses", "totals", "facts")
    parameters = [list(column) for column in zip(*written, strict=True)] or [[] for _ in names]
    database.execute(_WRITE_CAMPAIGNS, {**rows._asdict(), **dict(zip(names, parameters, strict=True))})
