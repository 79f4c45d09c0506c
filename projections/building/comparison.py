"""What this version of the fold would change: rows built beside the live ones, of whatever version, metric by metric.

It is how a changed definition is looked at before it is live. Names, statuses and numbers are compared as answers show
them, and what is summed also day by day, since a number may only have moved in time.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from domain.recorder import Pool
from projections.building.replay import Progress
from projections.building.replay_by_parts import Workers
from projections.building.verification import LostEndError, Rebuilt, rebuilt
from projections.journeys import quarter_hours
from projections.journeys.quarter_hours import Cells
from projections.metrics import FOLD_VERSION, MEASURES, METRICS, PLACES, Derived, analytics, in_place

_AT_ONCE = 2_000  # days of campaigns
_SIDES = SQL("""
(SELECT * FROM {table} WHERE workspace_id = %(workspace_id)s AND generation = %(live)s) AS a
FULL JOIN (SELECT * FROM {table} WHERE workspace_id = %(workspace_id)s AND generation = %(rebuilt)s) AS b
""")
_CAMPAIGNS = SQL("""
SELECT coalesce(a.campaign_id, b.campaign_id), coalesce(a.counted, 0) > 0, a.name, a.status, a.totals,
    coalesce(b.counted, 0) > 0, b.name, b.status, b.totals
FROM {sides} USING (workspace_id, campaign_id)
ORDER BY 1
""").format(sides=_SIDES.format(table=SQL("campaign")))
_DAYS = SQL("""
SELECT coalesce(a.campaign_id, b.campaign_id), coalesce(a.day, b.day),
    coalesce(a.quarters, ''::bytea), coalesce(b.quarters, ''::bytea)
FROM {sides} USING (workspace_id, campaign_id, day)
WHERE %(renumbered)s OR a.quarters IS DISTINCT FROM b.quarters
""").format(sides=_SIDES.format(table=SQL("campaign_activity")))
_MEASURES = SQL("SELECT measures FROM fold_version WHERE version = %s")

_Numbers = Mapping[str, object]


def changes(pool: Pool, workspace_id: int, progress: Progress, workers: Workers | None = None) -> list[str]:
    """Return what this version would change of a workspace's live rows: a line for each campaign and metric.

    A metric that the version of the live rows does not know is no change. The live rows stay as they are. Raises
    FoldError where an event can't be folded, SupersededError, and WentBackError.
    """
    try:
        with rebuilt(pool, workspace_id, progress, workers) as rows:
            return _changes(rows, workspace_id)
    except LostEndError as error:
        return [str(error)]


def _changes(rows: Rebuilt, workspace_id: int) -> list[str]:
    measures = _measures(rows)
    known = [metric.name for metric in METRICS if set(_summed(metric.name, metric.rule)) <= set(measures)]
    lines = []
    try:
        moved = _moved(rows, measures)
    except msgspec.DecodeError:
        moved = Counter()
        lines = [f"workspace {workspace_id}: the days of version {rows.version} can't be read, so can't be compared"]
    for campaign_id, *sides in rows.database.execute(_CAMPAIGNS, rows.sides):
        days = {name: moved[campaign_id, place] for name, place in PLACES.items()}
        live, now = _shown(sides[:4], measures), _shown(sides[4:], [measure.name for measure in MEASURES])
        where = f"workspace {workspace_id} campaign {campaign_id}"
        lines += [f"{where}: {what}" for what in _differences(live, now, ["name", "status", *known], days)]
    return lines


def _measures(rows: Rebuilt) -> list[str]:
    """Return the names of what is summed in the live rows, in the order in which it is stored."""
    if rows.version == FOLD_VERSION:
        return [measure.name for measure in MEASURES]
    [(measures,)] = rows.database.execute(_MEASURES, (rows.version,)).fetchall()
    return list(measures)


def _summed(name: str, rule: object) -> tuple[str, ...]:
    return rule.of if isinstance(rule, Derived) else (name,)


def _shown(row: Sequence[Any], measures: Sequence[str]) -> _Numbers | None:
    """Return what answers show of a campaign; None where they don't show it."""
    is_shown, name, status, totals = row
    if not is_shown:
        return None
    return {"name": name, "status": status, **analytics(in_place(totals, measures), extended=True)}


def _differences(
    live: _Numbers | None, now: _Numbers | None, known: Sequence[str], days: Mapping[str, int]
) -> Iterator[str]:
    """Yield what differs; `days` are of each sum the number of days on which it does."""
    if live is None or now is None:
        if live is not now:
            yield "is not shown, would be" if live is None else "is shown, would not be"
        return
    for name in known:
        if name not in live:  # it is never shown by itself
            continue
        if live[name] != now[name]:
            yield f"{name} is {live[name]}, would be {now[name]}"
        elif days.get(name):
            yield f"{name} stays {live[name]}, but would move to or from {days[name]} days"


def _moved(rows: Rebuilt, measures: Sequence[str]) -> Counter[tuple[int, int]]:
    """Return on how many days each sum of each campaign would differ, by campaign and place in `MEASURES`.

    Raises msgspec.DecodeError where the live days are stored in another form.
    """
    counted: Counter[tuple[int, int]] = Counter()
    of_live = np.array([PLACES.get(name, -1) for name in measures])
    of_rebuilt = np.array([place if name in measures else -1 for name, place in PLACES.items()])
    with rows.database.cursor("days", binary=True) as cursor:
        cursor.execute(_DAYS, {**rows.sides, "renumbered": measures != list(PLACES)})
        while batch := cursor.fetchmany(_AT_ONCE):
            differing = quarter_hours.summed([_cells(batch, 2, of_live, -1), _cells(batch, 3, of_rebuilt, 1)])
            pairs = set(zip(differing.owners.tolist(), differing.places.tolist(), strict=True))
            counted.update((batch[row][0], place) for row, place in pairs)
    return counted


def _cells(batch: Sequence[TupleRow], column: int, places: "np.ndarray[Any, np.dtype[np.int64]]", sign: int) -> Cells:
    """Return the sums of one side of some days, which are their owners, by today's places; those without one are left.

    Raises msgspec.DecodeError where they are stored in another form.
    """
    days = [row[1] for row in batch]
    cells = quarter_hours.unpacked(range(len(batch)), days, [row[column] for row in batch])
    if cells.places.size and cells.places.max() >= places.size:
        raise msgspec.DecodeError("a measure is not known")
    today = places[cells.places]
    known = today >= 0
    return quarter_hours.cells(cells.owners[known], cells.quarters[known], today[known], sign * cells.values[known])
