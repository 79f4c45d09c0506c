"""Campaigns as the log had them at an earlier position: their journeys, and what they are called, cut there."""

from psycopg.sql import SQL

from domain.recorder import Database
from projections.journeys import campaign as campaigns
from projections.journeys import quarter_hours, series
from projections.journeys.attribution import by_quarter_hour
from projections.queries.campaigns import UNKNOWN, Campaign

_IS_UPTO = SQL("""
SELECT floor(extract(epoch FROM recorded_at) * 1000) <= %(at)s FROM stored_events
WHERE workspace_id = %(workspace_id)s AND position = %(position)s
""")


def position_at(database: Database, workspace_id: int, at: int, head: int) -> int:
    """Return the position of the last event that was recorded up to an instant (ms, UTC); 0: none was.

    The times of recording ascend with the positions, unless the database's clock was set back; so few are looked at.
    """
    low, high = 0, head
    while low < high:
        middle = (low + high + 1) // 2
        row = database.execute(_IS_UPTO, {"workspace_id": workspace_id, "position": middle, "at": at}).fetchone()
        if row is not None and row[0]:
            low = middle
        else:
            high = middle - 1
    return low


def as_of(campaign: Campaign, position: int) -> Campaign | None:
    """Return a campaign, read with its journeys, as the log up to a position has it; None where that has nothing of it.

    Raises msgspec.DecodeError where a row is damaged.
    """
    history = campaigns.unpack(campaign.about).upto(position)
    events = campaign.unpacked(position)
    if not len(events.events) and not history.counting():
        return None
    stands = campaigns.about(history)
    cells = by_quarter_hour(events, at_first_touch=False)
    return campaign._replace(
        name=stands.name[2] if stands.name else f"Campaign {campaign.campaign_id}",
        status=stands.status[2] if stands.status else UNKNOWN,
        totals=quarter_hours.totals(cells, 1)[0].tolist(),
        days=series.by_day(cells),
        upto=position,
    )
