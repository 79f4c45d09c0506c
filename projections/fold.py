"""The fold: a batch of a log's facts into the read rows of one generation; live and replay differ in its size only.

An event's whole effect is what its journey contributes with it less what it contributed without it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from psycopg.sql import SQL

from domain.events import ProspectEvent, UndecodableError, decode
from domain.ledger import LogRow
from domain.recorder import Database
from projections import campaign, journey
from projections.campaign import About, CampaignEvent
from projections.journey import Fact
from projections.metrics import MEASURES

# LATERAL … LIMIT looks each journey up by its whole key, also where the planner's statistics know nothing of it yet.
_LOAD_JOURNEYS = SQL("""
SELECT k.campaign_id, k.prospect_id, j.facts
FROM unnest(%(campaign_ids)b::bigint[], %(prospect_ids)b::text[]) AS k (campaign_id, prospect_id)
CROSS JOIN LATERAL (
    SELECT facts FROM journey
    WHERE workspace_id = %(workspace_id)s AND generation = %(generation)s
        AND campaign_id = k.campaign_id AND prospect_id = k.prospect_id
    LIMIT 1
) AS j
""")
_WRITE_JOURNEYS = SQL("""
INSERT INTO journey (workspace_id, generation, campaign_id, prospect_id, facts)
SELECT %(workspace_id)s, %(generation)s, k.campaign_id, k.prospect_id, k.facts
FROM unnest(%(campaign_ids)b::bigint[], %(prospect_ids)b::text[], %(facts)b::bytea[])
    AS k (campaign_id, prospect_id, facts)
ON CONFLICT (workspace_id, generation, campaign_id, prospect_id) DO UPDATE SET facts = excluded.facts
""")
_COPY_JOURNEYS = SQL(
    "COPY journey (workspace_id, generation, campaign_id, prospect_id, facts) FROM STDIN (FORMAT binary)"
)
_LOAD_CAMPAIGNS = SQL("""
SELECT campaign_id, about, totals FROM campaign
WHERE workspace_id = %(workspace_id)s AND generation = %(generation)s AND campaign_id = ANY(%(campaign_ids)b)
""")
_WRITE_CAMPAIGN = SQL("""
INSERT INTO campaign (workspace_id, generation, campaign_id, about, name, status, totals)
VALUES (%(workspace_id)s, %(generation)s, %(campaign_id)s, %(about)s, %(name)s, %(status)s, %(totals)s)
ON CONFLICT (workspace_id, generation, campaign_id)
DO UPDATE SET about = excluded.about, name = excluded.name, status = excluded.status, totals = excluded.totals
""")

JourneyKey = tuple[int, str]  # campaign, prospect


class Rows(NamedTuple):
    """Which read rows are meant: those of one generation of one workspace."""

    workspace_id: int
    generation: int


class FoldError(Exception):
    """A fact can't be folded: it, or the journey that it belongs to, is not understood. Nothing was written."""

    def __init__(self, position: int, reason: str) -> None:
        """Take the fact's position in the log and what is wrong, in words for an operator."""
        super().__init__(f"position {position}: {reason}")
        self.position = position
        self.reason = reason


class _Batch(NamedTuple):
    first: int  # positions
    last: int
    journeys: dict[JourneyKey, list[Fact]]
    campaigns: dict[int, About]


def fold(database: Database, rows: Rows, log: Iterable[LogRow], *, empty: bool = False) -> int | None:
    """Add a batch of the log to the read rows, and return the last position folded; None where the batch was empty.

    The caller holds a transaction, and is the only one that writes to these rows. `empty` says that there are none
    yet. Raises FoldError, before anything is written, for the first fact that can't be folded.
    """
    batch = _gathered(log)
    if batch is None:
        return None
    stored = {} if empty else _load_journeys(database, rows, batch.journeys)
    totals: dict[int, list[int]] = defaultdict(lambda: [0] * len(MEASURES))
    written: dict[JourneyKey, bytes] = {}
    for key in sorted(batch.journeys):
        facts = batch.journeys[key]
        before = _unpacked(stored[key], facts) if key in stored else []
        after = journey.merged(before, facts)
        journey.add_totals(totals[key[0]], before, -1)
        journey.add_totals(totals[key[0]], after, 1)
        written[key] = journey.pack(after)
    touched = sorted(totals.keys() | batch.campaigns.keys())
    campaigns = {} if empty else _load_campaigns(database, rows, touched, batch.first)
    (_copy_journeys if empty else _write_journeys)(database, rows, written)
    with database.cursor() as cursor:
        cursor.executemany(
            _WRITE_CAMPAIGN,
            [
                _campaign_row(rows, campaign_id, campaigns.get(campaign_id), batch, totals[campaign_id])
                for campaign_id in touched
            ],
        )
    return batch.last


def _gathered(log: Iterable[LogRow]) -> _Batch | None:
    """Sort a batch by journey and by campaign; None where it is empty."""
    journeys: dict[JourneyKey, list[Fact]] = defaultdict(list)
    campaigns: dict[int, About] = {}
    first = position = 0
    for position, topic, state in log:
        first = first or position
        try:
            event = decode(topic, state)
        except UndecodableError as error:
            raise FoldError(position, str(error)) from error
        if isinstance(event, ProspectEvent):
            journeys[event.campaign_id, event.prospect_id].append(journey.fact_of(event, position))
        elif isinstance(event, CampaignEvent):
            about = campaigns.get(event.campaign_id, About())
            campaigns[event.campaign_id] = campaign.told(about, event)
        else:
            raise FoldError(position, f"nothing folds {topic}")
    return _Batch(first, position, journeys, campaigns) if first else None


def _unpacked(stored: bytes, new: Sequence[Fact]) -> list[Fact]:
    try:
        return journey.unpack(stored)
    except msgspec.DecodeError as error:
        raise FoldError(min(fact[6] for fact in new), f"its journey's row is damaged: {error}") from error


def _load_journeys(database: Database, rows: Rows, keys: Iterable[JourneyKey]) -> dict[JourneyKey, bytes]:
    parameters = {
        "workspace_id": rows.workspace_id,
        "generation": rows.generation,
        "campaign_ids": [campaign_id for campaign_id, _ in keys],
        "prospect_ids": [prospect_id for _, prospect_id in keys],
    }
    with database.cursor(binary=True) as cursor:
        cursor.execute(_LOAD_JOURNEYS, parameters)
        return {(campaign_id, prospect_id): facts for campaign_id, prospect_id, facts in cursor}


def _write_journeys(database: Database, rows: Rows, journeys: dict[JourneyKey, bytes]) -> None:
    parameters = {
        "workspace_id": rows.workspace_id,
        "generation": rows.generation,
        "campaign_ids": [campaign_id for campaign_id, _ in journeys],
        "prospect_ids": [prospect_id for _, prospect_id in journeys],
        "facts": list(journeys.values()),
    }
    database.execute(_WRITE_JOURNEYS, parameters)


def _copy_journeys(database: Database, rows: Rows, journeys: dict[JourneyKey, bytes]) -> None:
    with database.cursor() as cursor, cursor.copy(_COPY_JOURNEYS) as copy:
        copy.set_types(["bigint", "bigint", "bigint", "text", "bytea"])
        for (campaign_id, prospect_id), facts in journeys.items():
            copy.write_row((rows.workspace_id, rows.generation, campaign_id, prospect_id, facts))


def _load_campaigns(
    database: Database, rows: Rows, campaign_ids: Sequence[int], first: int
) -> dict[int, tuple[About, list[int]]]:
    parameters = {
        "workspace_id": rows.workspace_id,
        "generation": rows.generation,
        "campaign_ids": campaign_ids,
    }
    with database.cursor(binary=True) as cursor:
        cursor.execute(_LOAD_CAMPAIGNS, parameters)
        try:
            return {campaign_id: (campaign.unpack(about), totals) for campaign_id, about, totals in cursor}
        except msgspec.DecodeError as error:
            raise FoldError(first, f"its campaign's row is damaged: {error}") from error


def _campaign_row(
    rows: Rows, campaign_id: int, stored: tuple[About, list[int]] | None, batch: _Batch, added: list[int]
) -> dict[str, object]:
    about, totals = stored or (About(), [0] * len(MEASURES))
    about = campaign.both(about, batch.campaigns.get(campaign_id, About()))
    return {
        "workspace_id": rows.workspace_id,
        "generation": rows.generation,
        "campaign_id": campaign_id,
        "about": campaign.pack(about),
        "name": about.name and about.name[2],
        "status": about.status and about.status[2],
        "totals": [total + more for total, more in zip(totals, added, strict=True)],
    }
