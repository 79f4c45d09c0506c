"""What happened when: the sums of each campaign by quarter hours of UTC, a row a day, and how they are added up.

Nearly every time zone on earth begins its days at a quarter hour, so any period of any zone is a sum of these.
"""

from collections.abc import Iterable, Sequence
from itertools import starmap
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from psycopg.sql import SQL

from domain.recorder import Database
from projections import cells
from projections.cells import QUARTERS_A_DAY, Cells, Days
from projections.journey import Integers
from projections.metrics import MEASURES

_LOAD = SQL("""
SELECT k.place, a.quarters
FROM unnest(%(campaign_ids)b::bigint[], %(days)b::int[]) WITH ORDINALITY AS k (campaign_id, day, place)
CROSS JOIN LATERAL (
    SELECT quarters FROM campaign_activity
    WHERE workspace_id = %(workspace_id)s AND generation = %(generation)s
        AND campaign_id = k.campaign_id AND day = k.day
    LIMIT 1
) AS a
""")
_WRITE = SQL("""
INSERT INTO campaign_activity (workspace_id, generation, campaign_id, day, sums, quarters)
SELECT %(workspace_id)s, %(generation)s, k.campaign_id, k.day, k.sums, k.quarters
FROM unnest(%(campaign_ids)b::bigint[], %(days)b::int[], %(sums)b::bytea[], %(quarters)b::bytea[])
    AS k (campaign_id, day, sums, quarters)
ON CONFLICT (workspace_id, generation, campaign_id, day)
DO UPDATE SET sums = excluded.sums, quarters = excluded.quarters
""")
_DELETE = SQL("""
DELETE FROM campaign_activity WHERE workspace_id = %(workspace_id)s AND generation = %(generation)s
    AND (campaign_id, day) IN (SELECT * FROM unnest(%(campaign_ids)b::bigint[], %(days)b::int[]))
""")
_COPY = SQL("""
COPY campaign_activity (workspace_id, generation, campaign_id, day, sums, quarters) FROM STDIN (FORMAT binary)
""")


class Day(NamedTuple):
    """A day of a campaign as it is stored; the quarter hours may be left out where only the whole day is needed."""

    day: int
    sums: bytes
    quarters: bytes | None


def change(database: Database, workspace_id: int, generation: int, campaign_ids: Sequence[int], changes: Cells) -> None:
    """Add to the stored days of one generation of a workspace; a day on which nothing is left has no row.

    `changes` are by the campaigns' places in `campaign_ids`. Raises msgspec.DecodeError and OverflowError where a
    stored day is damaged.
    """
    rows = {"workspace_id": workspace_id, "generation": generation}
    touched = changes.days
    with database.cursor(binary=True) as cursor:
        cursor.execute(_LOAD, {**rows, **_keys(campaign_ids, touched)})
        places, quarters = list(zip(*cursor, strict=True)) or ((), ())
    owners, days = np.array(touched, np.int64).reshape(-1, 2)[np.array(places, np.int64) - 1].T
    written = cells.packed(cells.summed([cells.unpacked(owners, days, quarters), changes]))
    left = list(zip(written.owners, written.days, strict=True))
    database.execute(_WRITE, {**rows, **_keys(campaign_ids, left), "sums": written.sums, "quarters": written.quarters})
    gone = set(touched).difference(left)
    if gone:
        database.execute(_DELETE, {**rows, **_keys(campaign_ids, gone)})


def copy(database: Database, workspace_id: int, generation: int, campaign_ids: Sequence[int], days: Days) -> None:
    """Write days, by the campaigns' places in `campaign_ids`, of which no rows are there yet."""
    with database.cursor() as cursor, cursor.copy(_COPY) as copying:
        copying.set_types(["bigint", "bigint", "bigint", "int4", "bytea", "bytea"])
        for owner, day, sums, quarters in zip(*days, strict=True):
            copying.write_row((workspace_id, generation, campaign_ids[owner], day, sums, quarters))


def bucketed(days: Sequence[Day], starts: Sequence[int], end: int) -> list[list[int]]:
    """Return the sums of each stretch from one of `starts` up to the next, the last up to `end` (quarter hours).

    Of each stretch they are in order of `MEASURES`. A day's quarter hours are needed only where a stretch begins or
    ends within it.
    """
    bounds = np.array([*starts, end])
    shape = (len(bounds) + 1, len(MEASURES))  # the first and the last row are what lies outside

    def bucket(quarters: Integers) -> Integers:
        return np.searchsorted(bounds, quarters, "right")

    begins = np.array([each.day for each in days], np.int64) * QUARTERS_A_DAY
    # A day's sums go to the stretch of its noon: but for what belongs to others, which is taken from there again.
    mostly = bucket(begins + QUARTERS_A_DAY // 2)
    rows, places, values = cells.entries([each.sums for each in days])
    found = cells.added(shape, mostly[rows], places, values)
    first = np.clip(np.insert(bounds, 0, begins.min(initial=0))[mostly] - begins, 0, QUARTERS_A_DAY)
    last = np.clip(np.append(bounds, begins.max(initial=0) + QUARTERS_A_DAY)[mostly] - begins, 0, QUARTERS_A_DAY)
    cut = np.flatnonzero((first > 0) | (last < QUARTERS_A_DAY))
    if cut.size:
        quarters = [_quarters(days[place]) for place in cut.tolist()]
        others = cells.unpacked(cut, begins[cut] // QUARTERS_A_DAY, quarters, (first[cut], last[cut]))
        found += cells.added(shape, bucket(others.quarters), others.places, others.values)
        found -= cells.added(shape, mostly[others.owners], others.places, others.values)
    listed: list[list[int]] = found[1:-1].tolist()
    return listed


def extent(days: Iterable[Day]) -> tuple[int, int] | None:
    """Return the first and the last quarter hour in which anything happened; None where nothing has.

    Where a day is given without its quarter hours, all of it counts.
    """
    rows = sorted(days, key=attrgetter("day"))
    return (min(_happened(rows[0])), max(_happened(rows[-1]))) if rows else None


def by_day(of: Cells) -> list[Day]:
    """Return sums that are all of one owner as days."""
    return list(starmap(Day, zip(*cells.packed(of)[1:], strict=True)))


def _happened(day: Day) -> Iterable[int]:
    first = day.day * QUARTERS_A_DAY
    if day.quarters is None:
        return range(first, first + QUARTERS_A_DAY)
    found: list[int] = cells.unpacked([0], [day.day], [day.quarters]).quarters.tolist()
    return found


def _quarters(day: Day) -> bytes:
    assert day.quarters is not None
    return day.quarters


def _keys(campaign_ids: Sequence[int], keys: Iterable[tuple[int, int]]) -> dict[str, object]:
    listed = list(keys)
    return {"campaign_ids": [campaign_ids[owner] for owner, _ in listed], "days": [day for _, day in listed]}
