"""The fold: a batch of a log's facts into the read rows of one generation; live and replay differ in its size only.

An event's whole effect is what its journey contributes with it less what it contributed without it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from psycopg.sql import SQL

from domain.events import ProspectEvent, UndecodableError, decode
from domain.ledger import LogRow
from domain.recorder import Database
from projections import activity, campaign, journey, sums
from projections.activity import DayKey
from projections.campaign import About, CampaignEvent
from projections.journey import Fact
from projections.metrics import MEASURES

# LATERAL … LIMIT looks each journey up by its whole key, also where the planner's statistics know nothing of it yet.
_LOAD_JOURNEYS = SQL("""
SELECT k.campaign_id, k.prospect_id,
    CASE WHEN sum(octet_length(j.facts)) OVER (ROWS UNBOUNDED PRECEDING) <= %(most)s THEN j.facts END
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
SELECT campaign_id, about, totals, facts FROM campaign
WHERE workspace_id = %(workspace_id)s AND generation = %(generation)s AND campaign_id = ANY(%(campaign_ids)b)
""")
_WRITE_CAMPAIGN = SQL("""
INSERT INTO campaign (workspace_id, generation, campaign_id, about, name, status, totals, facts)
VALUES (%(workspace_id)s, %(generation)s, %(campaign_id)s, %(about)s, %(name)s, %(status)s, %(totals)s, %(facts)s)
ON CONFLICT (workspace_id, generation, campaign_id) DO UPDATE
SET about = excluded.about, name = excluded.name, status = excluded.status, totals = excluded.totals,
    facts = excluded.facts
""")

MAX_BYTES = 8 * 1024 * 1024  # of stored journeys that are loaded at once; they take twenty times as much unpacked

_UNLIMITED = 2**63 - 1
_WRITTEN_AT_ONCE = 2_000  # journeys

JourneyKey = tuple[int, str]  # campaign, prospect


class Rows(NamedTuple):
    """Which read rows are meant: those of one generation of one workspace."""

    workspace_id: int
    generation: int


class FoldError(Exception):
    """A fact can't be folded: it, or the journey that it belongs to, is not understood. Nothing was written."""

    def __init__(self, position: int, reason: str) -> None:
        """Take the fact's position in the log and what is wrong, in words for an operator."""
        super().__init__(position, reason)  # as given, so that it can come from another process
        self.position = position
        self.reason = reason

    def __str__(self) -> str:
        """Say both."""
        return f"position {self.position}: {self.reason}"


class Gathered(NamedTuple):
    """A stretch of the log, sorted by journey and by campaign; positions are 0 where it is empty."""

    first: int
    last: int
    journeys: dict[JourneyKey, list[Fact]]
    campaigns: dict[int, About]


class Gained:
    """What new facts add, by campaign: to the sums of each quarter hour, and to the number of facts."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.cells: defaultdict[int, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
        self.facts: defaultdict[int, int] = defaultdict(int)

    def totals(self) -> dict[int, int]:
        """Return what is added to the sums of each campaign."""
        return {campaign_id: sum(cells.values()) for campaign_id, cells in self.cells.items()}

    def days(self) -> dict[DayKey, activity.Cells]:
        """Return what is added to each day of each campaign."""
        return {
            (campaign_id, day): cells
            for campaign_id, quarters in sorted(self.cells.items())
            for day, cells in sorted(activity.by_day(quarters).items())
        }


class Campaign(NamedTuple):
    """A campaign's own row: what is known of it, its sums in order of `MEASURES`, and how many facts it has."""

    about: About = About()
    totals: Sequence[int] = (0,) * len(MEASURES)
    facts: int = 0


def fold(
    database: Database,
    rows: Rows,
    log: Sequence[LogRow],
    *,
    aside: Collection[int | None] = (),
    empty: bool = False,
) -> int | None:
    """Add a stretch of the log to the read rows, and return the last position folded; None where it was empty.

    The caller holds a transaction, and is the only one that writes to these rows. Positions in `aside` are passed
    over; `empty` says that there are no rows yet. Raises FoldError, and nothing is written, for the first fact that
    can't be folded.
    """
    gathered = gather(log, aside)
    if not gathered.last:
        return None
    stored = {} if empty else _load_journeys(database, rows, gathered.journeys)
    if stored is None:  # too much for the memory at once
        half = len(log) // 2
        with database.transaction():
            for part in (log[:half], log[half:]):
                fold(database, rows, part, aside=aside)
        return gathered.last
    gained = Gained()
    if empty:
        copy_journeys(database, rows, contributed(gathered.journeys, stored, gained))
        days = ((campaign_id, activity.packed(day, cells)) for (campaign_id, day), cells in gained.days().items())
        activity.copy(database, *rows, days)
        write_campaigns(database, rows, gained.totals(), gained.facts, gathered.campaigns, {})
        return gathered.last
    touched = sorted({campaign_id for campaign_id, _ in gathered.journeys} | gathered.campaigns.keys())
    campaigns = _load_campaigns(database, rows, touched, gathered.first)
    keys = sorted(gathered.journeys)
    with database.transaction():
        # In pieces, without waiting for answers: PostgreSQL writes one while the next is worked out here.
        with database.pipeline():
            for first in range(0, len(keys), _WRITTEN_AT_ONCE):
                piece = {key: gathered.journeys[key] for key in keys[first : first + _WRITTEN_AT_ONCE]}
                write_journeys(database, rows, contributed(piece, stored, gained))
            write_campaigns(database, rows, gained.totals(), gained.facts, gathered.campaigns, campaigns)
        try:
            activity.change(database, *rows, gained.days())
        except (msgspec.DecodeError, OverflowError) as error:
            raise FoldError(gathered.first, f"a row of its campaign's activity is damaged: {error}") from error
    return gathered.last


def gather(log: Iterable[LogRow], aside: Collection[int | None]) -> Gathered:
    """Sort a stretch of the log by journey and by campaign. Raises FoldError for the first that can't be folded."""
    journeys: dict[JourneyKey, list[Fact]] = defaultdict(list)
    campaigns: dict[int, About] = {}
    first = position = 0
    for position, topic, state in log:
        first = first or position
        if position in aside:
            continue
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
    return Gathered(first, position, journeys, campaigns)


def fault(row: LogRow) -> str | None:
    """Return why this fact can't be folded whatever its journey is; None where it can be."""
    try:
        gather([row], ())
    except FoldError as error:
        return error.reason
    return None


def contributed(
    journeys: Mapping[JourneyKey, list[Fact]], stored: Mapping[JourneyKey, bytes], gained: Gained
) -> dict[JourneyKey, bytes]:
    """Add what new facts contribute to what is gained; return their journeys as they are to be stored.

    `stored` holds the journeys that are there already; what is returned is in order of the keys. Raises FoldError
    where a stored one is damaged.
    """
    packed: dict[JourneyKey, bytes] = {}
    for key in sorted(journeys):
        facts = journeys[key]
        cells = gained.cells[key[0]]
        gained.facts[key[0]] += len(facts)
        before = _unpacked(stored[key], facts) if key in stored else []
        after = journey.in_order([*before, *facts])
        journey.add(cells, before, after)
        packed[key] = journey.pack(after)
    return packed


def _unpacked(stored: bytes, new: Sequence[Fact]) -> list[Fact]:
    try:
        return journey.unpack(stored)
    except msgspec.DecodeError as error:
        raise FoldError(min(fact[6] for fact in new), f"its journey's row is damaged: {error}") from error


def _load_journeys(
    database: Database, rows: Rows, journeys: Mapping[JourneyKey, list[Fact]]
) -> dict[JourneyKey, bytes] | None:
    """Return those that are stored; None where they are several and too large together."""
    keys = journeys.keys()
    parameters = {
        "most": MAX_BYTES if sum(map(len, journeys.values())) > 1 else _UNLIMITED,
        "workspace_id": rows.workspace_id,
        "generation": rows.generation,
        "campaign_ids": [campaign_id for campaign_id, _ in keys],
        "prospect_ids": [prospect_id for _, prospect_id in keys],
    }
    with database.cursor(binary=True) as cursor:
        cursor.execute(_LOAD_JOURNEYS, parameters)
        found = {(campaign_id, prospect_id): facts for campaign_id, prospect_id, facts in cursor}
    return None if None in found.values() else found


def write_journeys(database: Database, rows: Rows, journeys: Mapping[JourneyKey, bytes]) -> None:
    """Write journeys, over their rows where there are any."""
    parameters = {
        "workspace_id": rows.workspace_id,
        "generation": rows.generation,
        "campaign_ids": [campaign_id for campaign_id, _ in journeys],
        "prospect_ids": [prospect_id for _, prospect_id in journeys],
        "facts": list(journeys.values()),
    }
    database.execute(_WRITE_JOURNEYS, parameters)


def copy_journeys(database: Database, rows: Rows, journeys: Mapping[JourneyKey, bytes]) -> None:
    """Write journeys of which no rows are there yet."""
    with database.cursor() as cursor, cursor.copy(_COPY_JOURNEYS) as copy:
        copy.set_types(["bigint", "bigint", "bigint", "text", "bytea"])
        for (campaign_id, prospect_id), facts in journeys.items():
            copy.write_row((rows.workspace_id, rows.generation, campaign_id, prospect_id, facts))


def _load_campaigns(database: Database, rows: Rows, campaign_ids: Sequence[int], first: int) -> dict[int, Campaign]:
    parameters = {
        "workspace_id": rows.workspace_id,
        "generation": rows.generation,
        "campaign_ids": campaign_ids,
    }
    with database.cursor(binary=True) as cursor:
        cursor.execute(_LOAD_CAMPAIGNS, parameters)
        try:
            return {row[0]: Campaign(campaign.unpack(row[1]), row[2], row[3]) for row in cursor}
        except msgspec.DecodeError as error:
            raise FoldError(first, f"its campaign's row is damaged: {error}") from error


def write_campaigns(  # noqa: PLR0913 (what is added, and to what)
    database: Database,
    rows: Rows,
    totals: Mapping[int, int],
    facts: Mapping[int, int],
    abouts: Mapping[int, About],
    stored: Mapping[int, Campaign],
) -> None:
    """Add to the campaigns' rows, those in `stored` as they are now, what is summed and what was said of them."""
    written = []
    for campaign_id in sorted(totals.keys() | abouts.keys()):
        before = stored.get(campaign_id, Campaign())
        about = campaign.both(before.about, abouts.get(campaign_id, About()))
        written.append(
            {
                "workspace_id": rows.workspace_id,
                "generation": rows.generation,
                "campaign_id": campaign_id,
                "about": campaign.pack(about),
                "name": about.name and about.name[2],
                "status": about.status and about.status[2],
                "totals": sums.listed(sums.of(before.totals) + totals.get(campaign_id, 0)),
                "facts": before.facts + facts.get(campaign_id, 0),
            }
        )
    with database.cursor() as cursor:
        cursor.executemany(_WRITE_CAMPAIGN, written)
