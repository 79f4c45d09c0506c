"""The fold: a batch of a log's facts into the read rows of one generation; live and replay differ in its size only.

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
from projections.building.batch import FoldError, Gathered, Journeys
from projections.journeys import campaign, columns, contributions, quarter_hours
from projections.journeys.campaign import About
from projections.journeys.columns import FACT_BITS, FACT_BYTES, FACT_MASK, STORED, Integers
from projections.journeys.quarter_hours import QUARTER_MS, Cells, Days
from projections.metrics import MEASURES

AT_ONCE = 8_000  # journeys that are written by one statement
LONG_BYTES = 8 * 1024  # of facts; what is longer is asked for by itself, so that the memory is bounded
_ADDED_AT_ONCE = 4_000  # journeys whose numbers leave a fact room in an integer
_FACTS_AT_ONCE = 250_000  # about so many are added at once, for the memory again
_SEND_MS = 120_000  # the server takes nothing for so long: it is away
assert _ADDED_AT_ONCE << FACT_BITS + 1 < 1 << 63

# Facts are put behind those that are there, and the whole comes back: each journey is looked up once.
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


class Rows(NamedTuple):
    """Which read rows are meant: those of one generation of one workspace."""

    workspace_id: int
    generation: int


class Gained(NamedTuple):
    """What new facts add to campaigns: to their sums by quarter hour, whose owners are places in `campaign_ids`.

    And to the numbers of their facts.
    """

    campaign_ids: list[int]
    cells: Cells
    facts: dict[int, int]

    def totals(self) -> dict[int, Integers]:
        """Return what is added to the sums of each campaign."""
        return dict(zip(self.campaign_ids, quarter_hours.totals(self.cells, len(self.campaign_ids)), strict=True))

    def days(self) -> Days:
        """Return what is added as days are stored."""
        return quarter_hours.packed(self.cells)


class Gaining:
    """Adds up what new facts add."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._places: dict[int, int] = {}
        self._cells: list[Cells] = []
        self._facts: dict[int, int] = defaultdict(int)

    def add(self, journeys: Journeys, stored: Sequence[bytes]) -> None:
        """Add what facts contribute that were put behind those of their journeys, which are given as they are now."""
        facts = np.cumsum([len(each) // FACT_BYTES for each in stored], dtype=np.int64)
        pieces = np.arange(len(stored)) // _ADDED_AT_ONCE + facts // _FACTS_AT_ONCE
        bounds = [*np.flatnonzero(columns.is_first(pieces)).tolist(), len(stored)]
        for first, end in pairwise(bounds):
            self._add(journeys.part(first, end), stored[first:end])

    def _add(self, journeys: Journeys, stored: Sequence[bytes]) -> None:
        places = [self._places.setdefault(campaign_id, len(self._places)) for campaign_id, _ in journeys.keys]
        for (campaign_id, _), number in zip(journeys.keys, journeys.counts.tolist(), strict=True):
            self._facts[campaign_id] += number
        lengths = np.fromiter(map(len, stored), np.int64, len(stored)) // FACT_BYTES
        facts = np.frombuffer(b"".join(stored), STORED)
        numbers = np.repeat(np.arange(len(stored)), lengths)
        new = np.arange(facts.size) >= np.repeat(np.cumsum(lengths) - journeys.counts, lengths)
        # Plain integers are sorted fastest: the journey, the fact, and in the lowest bit whether it is new.
        whole = (numbers << FACT_BITS | facts) << 1 | new
        whole.sort()
        numbers, facts, new = whole >> FACT_BITS + 1, whole >> 1 & FACT_MASK, whole & 1 == 1
        changes = contributions.changes(numbers, facts, new)
        owners = np.array(places, np.int64)[numbers[changes.facts]]
        quarters = (facts[changes.facts] >> columns.KIND_BITS) // QUARTER_MS
        self._cells.append(
            quarter_hours.summed([quarter_hours.cells(owners, quarters, changes.places, changes.values)])
        )

    def gained(self) -> Gained:
        """Return what was added."""
        together = quarter_hours.summed(self._cells) if len(self._cells) != 1 else self._cells[0]
        return Gained(list(self._places), together, dict(self._facts))


class Campaign(NamedTuple):
    """A campaign's own row: what is known of it, its sums in order of `MEASURES`, and how many facts it has."""

    about: About = About()
    totals: Sequence[int] = (0,) * len(MEASURES)
    facts: int = 0


def fold(
    database: Database,
    rows: Rows,
    gathered: Gathered[Journeys],
    *,
    empty: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Add what a stretch of the log says to the read rows.

    The caller holds a transaction, and is the only one that writes to these rows; `empty` says that there are none
    yet. `meanwhile` is called at most once, while PostgreSQL is busy. Raises FoldError, and nothing is written, for a
    fact that can't be folded since a row is damaged.
    """
    if empty:
        gained = copy_journeys(database, rows, gathered.facts)
        day_rows.copy(database, *rows, gained.campaign_ids, gained.days())
        write_campaigns(database, rows, gained.totals(), gained.facts, gathered.campaigns, {})
        return
    with database.transaction():
        gained = _grow_journeys(database, rows, gathered.facts, meanwhile)
        try:
            day_rows.change(database, *rows, gained.campaign_ids, gained.cells)
        except (msgspec.DecodeError, OverflowError) as error:
            raise FoldError(gathered.first, f"a row of its campaign's activity is damaged: {error}") from error
        touched = sorted({*gained.campaign_ids, *gathered.campaigns})
        stored = _load_campaigns(database, rows, touched, gathered.first)
        write_campaigns(database, rows, gained.totals(), gained.facts, gathered.campaigns, stored)


def copy_journeys(database: Database, rows: Rows, journeys: Journeys) -> Gained:
    """Write journeys of which no rows are there yet, and return what they add."""
    gaining = Gaining()
    with database.cursor() as cursor, cursor.copy(_COPY_JOURNEYS) as copy:
        copy.set_types(["bigint", "bigint", "bigint", "text", "bytea", "bytea"])
        for piece in journeys.pieces(AT_ONCE):
            stored = piece.stored()
            for (campaign_id, prospect_id), facts, details in zip(piece.keys, stored, piece.details, strict=True):
                copy.write_row((*rows, campaign_id, prospect_id, facts, details))
            gaining.add(piece, stored)
    return gaining.gained()


def _grow_journeys(database: Database, rows: Rows, journeys: Journeys, meanwhile: Callable[[], None]) -> Gained:
    """Put facts behind those of their journeys, and return what they add. Raises FoldError where one is damaged."""
    gaining = Gaining()
    written: tuple[Journeys, list[bytes]] | None = None
    with database.pipeline():
        for piece in journeys.pieces(AT_ONCE):
            cursor = database.cursor(binary=True)
            cursor.execute(_GROW_JOURNEYS, {**rows._asdict(), "long": LONG_BYTES, **_columns(piece)})
            _send(database)
            if written:  # worked out here while PostgreSQL writes the next
                gaining.add(*written)
            else:
                meanwhile()
            found = {(campaign_id, prospect_id): facts for campaign_id, prospect_id, facts in cursor.fetchall()}
            stored = [found[key] for key in piece.keys]
            long = np.array([facts is None for facts in stored])
            for each in piece.chosen(long).pieces(1):
                [(facts,)] = database.execute(_READ_JOURNEY, (*rows, *each.keys[0]), binary=True).fetchall()
                gaining.add(each, _whole(each, [facts]))
            short = piece.chosen(~long)
            written = short, _whole(short, [each for each in stored if each is not None])
        if written:  # before the pipeline's end, which would leave the session idle, and that only for so long
            gaining.add(*written)
        return gaining.gained()


def _send(database: Database) -> None:
    """Let PostgreSQL have all of what it is asked; else it gets the rest only when the answer is waited for."""
    writable = poll()
    writable.register(database, POLLOUT)
    while database.pgconn.flush():
        if not writable.poll(_SEND_MS):
            raise OperationalError("the database does not take what it is asked")


def _columns(piece: Journeys) -> dict[str, object]:
    return {
        "campaign_ids": [campaign_id for campaign_id, _ in piece.keys],
        "prospect_ids": [prospect_id for _, prospect_id in piece.keys],
        "facts": piece.stored(),
        "details": piece.details,
    }


def _whole(journeys: Journeys, stored: list[bytes]) -> list[bytes]:
    """Return what is stored of journeys; raise FoldError, for the first new fact of a damaged one, where any is."""
    whole = columns.are_whole(stored)
    if not whole.all():
        damaged = journeys.chosen(~whole)
        firsts = map(columns.first_position, damaged.details, damaged.counts.tolist())
        raise FoldError(min(firsts), "its journey's row is damaged")
    return stored


def _load_campaigns(database: Database, rows: Rows, campaign_ids: Sequence[int], first: int) -> dict[int, Campaign]:
    parameters = {**rows._asdict(), "campaign_ids": campaign_ids}
    with database.cursor(binary=True) as cursor:
        cursor.execute(_LOAD_CAMPAIGNS, parameters)
        try:
            found = {row[0]: Campaign(campaign.unpack(row[1]), row[2], row[3]) for row in cursor}
        except msgspec.DecodeError as error:
            raise FoldError(first, f"its campaign's row is damaged: {error}") from error
    if any(len(each.totals) != len(MEASURES) for each in found.values()):
        raise FoldError(first, "its campaign's row is damaged: other sums are expected")
    return found


def write_campaigns(  # noqa: PLR0913 (what is added, and to what)
    database: Database,
    rows: Rows,
    totals: Mapping[int, Integers],
    facts: Mapping[int, int],
    abouts: Mapping[int, About],
    stored: Mapping[int, Campaign],
) -> None:
    """Add to the campaigns' rows, those in `stored` as they are now, what is summed and what was said of them."""
    written = []
    for campaign_id in sorted(totals.keys() | abouts.keys()):
        before = stored.get(campaign_id, Campaign())
        about = campaign.both(before.about, abouts.get(campaign_id, About()))
        gained = totals[campaign_id].tolist() if campaign_id in totals else Campaign().totals
        sums = ",".join([str(one + more) for one, more in zip(before.totals, gained, strict=True)])
        name, status = about.name and about.name[2], about.status and about.status[2]
        number = before.facts + facts.get(campaign_id, 0)
        written.append((campaign_id, campaign.pack(about), name, status, f"{{{sums}}}", number))
    names = ("campaign_ids", "abouts", "names", "statuses", "totals", "facts")
    columns = [list(column) for column in zip(*written, strict=True)] or [[] for _ in names]
    database.execute(_WRITE_CAMPAIGNS, {**rows._asdict(), **dict(zip(names, columns, strict=True))})
