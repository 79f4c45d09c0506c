"""What happened when: the sums of each campaign by quarter hours of UTC, a row a day, and how they are added up.

A quarter hour is the number of quarter hours since 1970 in UTC, a day that of days. Nearly every time zone on earth
begins its days at a quarter hour, so any period of any zone is a sum of these.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

import msgspec
from psycopg.sql import SQL

from domain.recorder import Database
from projections import sums

QUARTERS_A_DAY = 96

Cells = dict[int, int]  # by quarter hour: the sums, as one integer
DayKey = tuple[int, int]  # campaign, day

_Packed = list[tuple[int, bytes]]  # quarter hour of the day, and its sums; in order
_decode: Callable[[bytes], _Packed] = msgspec.msgpack.Decoder(_Packed).decode
_encode: Callable[[_Packed], bytes] = msgspec.msgpack.Encoder().encode

_LOAD = SQL("""
SELECT k.campaign_id, k.day, a.quarters
FROM unnest(%(campaign_ids)b::bigint[], %(days)b::int[]) AS k (campaign_id, day)
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


def by_day(cells: Mapping[int, int]) -> dict[int, Cells]:
    """Return what changes, by day."""
    days: dict[int, Cells] = {}
    for quarter, change in cells.items():
        if change:
            days.setdefault(quarter // QUARTERS_A_DAY, {})[quarter] = change
    return days


def packed(day: int, cells: Mapping[int, int]) -> Day:
    """Return a day as it is stored. Raises OverflowError where a sum is negative."""
    found = [(quarter - day * QUARTERS_A_DAY, sums.pack(cell)) for quarter, cell in sorted(cells.items()) if cell]
    return Day(day, sums.pack(sum(cells.values())), _encode(found))


def unpacked(day: int, quarters: bytes) -> Cells:
    """Return a stored day. Raises msgspec.DecodeError where the bytes are damaged."""
    return {day * QUARTERS_A_DAY + quarter: sums.unpack(cell) for quarter, cell in _decode(quarters)}


def add(cells: Cells, more: Mapping[int, int]) -> None:
    """Add sums to those of the same quarter hours."""
    for quarter, change in more.items():
        cells[quarter] = cells.get(quarter, 0) + change


def change(database: Database, workspace_id: int, generation: int, changes: Mapping[DayKey, Cells]) -> None:
    """Add to the stored days of one generation of a workspace; a day on which nothing is left has no row.

    Raises msgspec.DecodeError and OverflowError where a stored day is damaged.
    """
    rows = {"workspace_id": workspace_id, "generation": generation}
    with database.cursor(binary=True) as cursor:
        cursor.execute(_LOAD, {**rows, **_keys(changes)})
        stored = {(campaign_id, day): unpacked(day, quarters) for campaign_id, day, quarters in cursor}
    written: dict[DayKey, Day] = {}
    for key, cells in changes.items():
        days = stored.get(key, {})
        add(days, cells)
        written[key] = packed(key[1], days)
    gone = [key for key, day in written.items() if not day.sums]
    for key in gone:
        del written[key]
    columns = {"sums": [day.sums for day in written.values()], "quarters": [day.quarters for day in written.values()]}
    database.execute(_WRITE, {**rows, **_keys(written), **columns})
    if gone:
        database.execute(_DELETE, {**rows, **_keys(gone)})


def copy(database: Database, workspace_id: int, generation: int, days: Iterable[tuple[int, Day]]) -> None:
    """Write days, given with their campaigns, of which no rows are there yet."""
    with database.cursor() as cursor, cursor.copy(_COPY) as copying:
        copying.set_types(["bigint", "bigint", "bigint", "int4", "bytea", "bytea"])
        for campaign_id, day in days:
            copying.write_row((workspace_id, generation, campaign_id, *day))


def bucketed(days: Iterable[Day], starts: Sequence[int], end: int) -> list[int]:
    """Return the sums of each stretch from one of `starts` up to the next, the last up to `end` (quarter hours).

    A day's quarter hours are needed only where a stretch begins or ends within it.
    """
    found = [0] * len(starts)
    first = starts[0]
    for day, total, quarters in days:
        begins = day * QUARTERS_A_DAY
        ends = begins + QUARTERS_A_DAY
        if ends <= first or begins >= end:
            continue
        bucket = bisect_right(starts, begins) - 1
        following = bisect_left(starts, ends)
        cuts = [begins, *starts[bucket + 1 : following], *([end] if end < ends else []), ends]
        widest = max(range(len(cuts) - 1), key=lambda place: cuts[place + 1] - cuts[place])
        rest = sums.unpack(total)
        if len(cuts) > 2:  # noqa: PLR2004 (more than one stretch)
            assert quarters is not None
            cells = _decode(quarters)
            # Most of a day belongs to one stretch as a rule: it gets what the others don't.
            low, high = (bisect_left(cells, (cut - begins, b"")) for cut in cuts[widest : widest + 2])
            for quarter, packed_cell in (*cells[:low], *cells[high:]):
                cell = sums.unpack(packed_cell)
                rest -= cell
                if first <= begins + quarter < end:
                    found[bisect_right(starts, begins + quarter) - 1] += cell
        if first <= cuts[widest] < end:
            found[bisect_right(starts, cuts[widest]) - 1] += rest
    return found


def extent(days: Iterable[Day]) -> tuple[int, int] | None:
    """Return the first and the last quarter hour in which anything happened; None where nothing has.

    Where a day is given without its quarter hours, all of it counts.
    """
    rows = sorted(days, key=attrgetter("day"))
    return (min(_quarters(rows[0])), max(_quarters(rows[-1]))) if rows else None


def _quarters(day: Day) -> Iterable[int]:
    first = day.day * QUARTERS_A_DAY
    return range(first, first + QUARTERS_A_DAY) if day.quarters is None else unpacked(day.day, day.quarters)


def _keys(keys: Iterable[DayKey]) -> dict[str, object]:
    listed = list(keys)
    return {"campaign_ids": [campaign_id for campaign_id, _ in listed], "days": [day for _, day in listed]}
