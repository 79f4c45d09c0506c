"""Campaigns as rows: their names and sums, read, added to and written, for one generation of a workspace."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from psycopg.sql import SQL

from domain.citus import insert_forms
from domain.recorder import Database
from projections.building.batch import FoldError
from projections.building.generations import ReadRows
from projections.journeys import campaign
from projections.journeys.campaign import History
from projections.metrics import MEASURES

# In the database the number of a campaign's events is a column called `facts`.
_LOAD = SQL("""
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


def load(database: Database, rows: ReadRows, campaign_ids: Sequence[int], blamed: int) -> dict[int, CampaignRow]:
    """Return the rows of campaigns; raise FoldError, which blames the event at this position, where one is damaged."""
    parameters = {**rows._asdict(), "campaign_ids": campaign_ids}
    with database.cursor(binary=True) as cursor:
        cursor.execute(_LOAD, parameters)
        try:
            stored = {row[0]: CampaignRow(campaign.unpack(row[1]), *row[2:]) for row in cursor}
        except msgspec.DecodeError as error:
            raise FoldError(blamed, f"its campaign's row is damaged: {error}") from error
    if any(len(each.totals) != len(MEASURES) for each in stored.values()):
        raise FoldError(blamed, "its campaign's row is damaged: other sums are expected")
    return stored


def write(
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
