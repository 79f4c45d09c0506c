"""Reads of campaigns beyond the main answer: one statement, so one snapshot, whatever the question needs.

It returns the caller, the workspaces that they may see with their positions, and the matching campaigns with the rows
of their activity or their journeys.
"""

from collections.abc import Iterable, Sequence
from enum import Enum
from functools import partial
from typing import NamedTuple

from psycopg.sql import SQL, Composed, Literal

from domain.citus import Here, forms
from domain.recorder import Database
from projections.journeys import columns, series
from projections.journeys.attribution import by_quarter_hour
from projections.journeys.columns import EventColumns
from projections.journeys.quarter_hours import QUARTERS_A_DAY
from projections.journeys.series import Day
from projections.metrics import FOLD_VERSION
from projections.queries.caller import Asked, Credentials, Sealed, rows_of
from projections.queries.dashboard import totals_in_place
from projections.queries.standing import COLUMNS, OWN, Standing, asked_by_caller, sealed_standings

MOST_EVENTS = 500_000  # of all journeys that one question reads
UNKNOWN = "UNKNOWN"
_EARLIEST, _LATEST = -(2**31), 2**31 - 1  # PostgreSQL's integers

_ANSWER = SQL("""
{asked}, matching AS (
    SELECT m.* FROM asked AS a JOIN campaign AS m USING (workspace_id, generation)
    WHERE (m.counted > 0 OR %(uncounted)s) {m}
        AND (%(campaign_ids)b::bigint[] IS NULL OR m.campaign_id = ANY (%(campaign_ids)b))
        AND (%(statuses)b::text[] IS NULL OR coalesce(m.status, {unknown}) = ANY (%(statuses)b))
)
SELECT {columns}, m.campaign_id, m.name, m.status, m.about, m.totals, m.facts, r.*
FROM caller AS c
LEFT JOIN asked AS a ON true
LEFT JOIN matching AS m USING (workspace_id)
LEFT JOIN LATERAL ({rows}) AS r ON true
ORDER BY a.workspace_id, m.campaign_id
""")
_OF_CAMPAIGN = SQL("""
    r.workspace_id = m.workspace_id {r} AND r.generation = m.generation AND r.campaign_id = m.campaign_id
""")


class Needs(Enum):
    """Which rows a question needs of each campaign."""

    TOTALS = SQL("SELECT NULL, NULL, NULL")
    DAYS = SQL("""
    SELECT array_agg(day), array_agg(sums),
        array_agg(CASE WHEN %(split)s OR day = %(first_day)s OR day = %(last_day)s THEN quarters END)
    FROM campaign_activity AS r WHERE {campaign} AND day BETWEEN %(first_day)s AND %(last_day)s
    """)
    JOURNEYS = SQL("""
    SELECT array_agg(prospect_id), array_agg(facts), array_agg(details)
    FROM journey AS r WHERE {campaign} AND (SELECT sum(facts) FROM matching) <= {most}
    """)


def _statement(needs: Needs, here: Here) -> Composed:
    campaign = _OF_CAMPAIGN.format(r=here("r"))
    rows = needs.value.format(campaign=campaign, most=Literal(MOST_EVENTS))
    return _ANSWER.format(
        asked=asked_by_caller(here), columns=COLUMNS, m=here("m"), unknown=Literal(UNKNOWN), rows=rows
    )


_STATEMENTS = {needs: forms(partial(_statement, needs)) for needs in Needs}


class Selection(NamedTuple):
    """Which campaigns (None: all), which of their rows, and of which stretch of time (quarter hours; None: all)."""

    needs: Needs
    campaign_ids: Sequence[int] | None = None
    statuses: Sequence[str] | None = None
    first: int | None = None
    end: int | None = None
    split: bool = True  # whether more days than the first and the last are needed by quarter hours
    upto: int | None = None  # a position; then campaigns without a counted event now are included too


class Journey(NamedTuple):
    """A journey as it is stored."""

    prospect_id: str
    columns: tuple[bytes, bytes]  # the database's `facts` (events) and `details`


class Campaign(NamedTuple):
    """A matching campaign and the selected ones of its rows; totals are None until a replay has computed them."""

    workspace_id: int
    campaign_id: int
    name: str
    status: str
    about: bytes
    totals: Sequence[int | None]
    events: int
    days: list[Day]
    journeys: list[Journey]
    upto: int | None = None  # the position at which its journeys are cut

    def unpacked(self, upto: int | None = None) -> EventColumns:
        """Return what counts of its journeys; takes and raises what `columns.unpack` does."""
        return columns.unpack([each.columns for each in self.journeys], self.upto if upto is None else upto)

    def at_first_touch(self) -> list[Day]:
        """Return what its journeys contribute, all of each at its first touch, by day."""
        return series.by_day(by_quarter_hour(self.unpacked(), at_first_touch=True))


class Matching(NamedTuple):
    """How far the asked workspaces are projected, and their matching campaigns, sorted by workspace and id."""

    standings: list[Standing]
    campaigns: list[Campaign]


def read(database: Database, credentials: Credentials, asked: Asked, selection: Selection) -> Sealed[Matching]:
    """Return the matching campaigns of the asked workspaces, and their rows; all of one snapshot.

    Returns no journeys where the matching campaigns have more than `MOST_EVENTS` events.
    """
    values = {
        "campaign_ids": None if selection.campaign_ids is None else list(selection.campaign_ids),
        "statuses": None if selection.statuses is None else list(selection.statuses),
        "split": selection.split,
        "uncounted": selection.upto is not None,
        "first_day": _EARLIEST if selection.first is None else selection.first // QUARTERS_A_DAY,
        "last_day": _LATEST if selection.end is None else (selection.end - 1) // QUARTERS_A_DAY,
    }
    rows = rows_of(database, _STATEMENTS[selection.needs], credentials, asked, values)
    sealed = sealed_standings(rows, asked)
    campaigns = [_campaign(selection.needs, row[4], *row[OWN:]) for row in rows if row[OWN] is not None]
    versions = {row[4]: row[OWN - 1] for row in rows}
    for version in set(versions.values()) - {FOLD_VERSION, None}:
        older = [place for place, each in enumerate(campaigns) if versions[each.workspace_id] == version]
        sums = totals_in_place(database, version, [campaigns[place].totals for place in older])
        for place, totals in zip(older, sums, strict=True):
            campaigns[place] = campaigns[place]._replace(totals=totals)
    return sealed.map(lambda standings: Matching(standings, campaigns))


def as_one(totals: Iterable[Sequence[int | None]], nothing: Sequence[int]) -> list[int | None]:
    """Return the sums of several campaigns as those of one; None where one of them is not known."""
    columns = zip(nothing, *totals, strict=True)
    return [None if None in column else sum(column) for column in columns]


def _campaign(  # noqa: PLR0913 (a row of the statement)
    needs: Needs,
    workspace_id: int,
    campaign_id: int,
    name: str | None,
    status: str | None,
    about: bytes,
    totals: list[int],
    events: int,
    keys: list[int] | list[str] | None,
    values: list[bytes] | None,
    more: list[bytes | None] | None,
) -> Campaign:
    days = list(map(Day, keys, values, more)) if needs is Needs.DAYS and keys else []  # type: ignore[arg-type]
    journeys = list(map(Journey, keys, zip(values, more, strict=True))) if needs is Needs.JOURNEYS and keys else []  # type: ignore[arg-type]
    return Campaign(
        workspace_id,
        campaign_id,
        name or f"Campaign {campaign_id}",
        status or UNKNOWN,
        about,
        totals,
        events,
        days,
        journeys,
    )
