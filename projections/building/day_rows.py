"""The days of campaigns as rows: read, added to and written, for one generation of a workspace."""

from collections.abc import Iterable, Sequence

import numpy as np
from psycopg.sql import SQL

from domain.citus import insert_forms
from domain.recorder import Database
from projections.journeys import quarter_hours
from projections.journeys.quarter_hours import Cells, Days

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
INSERT INTO campaign_activity AS a (workspace_id, generation, campaign_id, day, sums, quarters)
SELECT {workspace_id}, %(generation)s::bigint, k.campaign_id, k.day, k.sums, k.quarters
FROM {source} unnest(%(campaign_ids)b::bigint[], %(days)b::int[], %(sums)b::bytea[], %(quarters)b::bytea[])
    AS k (campaign_id, day, sums, quarters)
{where}
ON CONFLICT (workspace_id, generation, campaign_id, day)
DO UPDATE SET sums = excluded.sums, quarters = excluded.quarters
""")
_WRITE_DAYS = insert_forms(_WRITE)
_DELETE = SQL("""
DELETE FROM campaign_activity WHERE workspace_id = %(workspace_id)s AND generation = %(generation)s
    AND (campaign_id, day) IN (SELECT * FROM unnest(%(campaign_ids)b::bigint[], %(days)b::int[]))
""")
_COPY = SQL("""
COPY campaign_activity (workspace_id, generation, campaign_id, day, sums, quarters) FROM STDIN (FORMAT binary)
""")


def change(database: Database, workspace_id: int, generation: int, campaign_ids: Sequence[int], changes: Cells) -> None:
    """Add to the stored days of one generation of a workspace; a day on which nothing is left has no row.

    The owners of `changes` are indices into `campaign_ids`. Raises msgspec.DecodeError and OverflowError where a
    stored day is damaged.
    """
    rows = {"workspace_id": workspace_id, "generation": generation}
    touched = changes.days
    with database.cursor(binary=True) as cursor:
        cursor.execute(_LOAD, {**rows, **_keys(campaign_ids, touched)})
        places, quarters = list(zip(*cursor, strict=True)) or ((), ())
    owners, days = np.array(touched, np.int64).reshape(-1, 2)[np.array(places, np.int64) - 1].T
    written = quarter_hours.packed(quarter_hours.summed([quarter_hours.unpacked(owners, days, quarters), changes]))
    left = list(zip(written.owners, written.days, strict=True))
    packed = {"sums": written.sums, "quarters": written.quarters}
    database.execute(_WRITE_DAYS.of(database), {**rows, **_keys(campaign_ids, left), **packed})
    gone = set(touched).difference(left)
    if gone:
        database.execute(_DELETE, {**rows, **_keys(campaign_ids, gone)})


def copy(database: Database, workspace_id: int, generation: int, campaign_ids: Sequence[int], days: Days) -> None:
    """Write days of which no rows exist yet; their owners are indices into `campaign_ids`."""
    with database.cursor() as cursor, cursor.copy(_COPY) as copying:
        copying.set_types(["bigint", "bigint", "bigint", "int4", "bytea", "bytea"])
        for owner, day, sums, quarters in zip(*days, strict=True):
            copying.write_row((workspace_id, generation, campaign_ids[owner], day, sums, quarters))


def _keys(campaign_ids: Sequence[int], keys: Iterable[tuple[int, int]]) -> dict[str, object]:
    listed = list(keys)
    return {"campaign_ids": [campaign_ids[owner] for owner, _ in listed], "days": [day for _, day in listed]}
