"""What the answers with numbers share: the sums of a campaign in the asked period, and the columns of their tables."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import asdict

from api.answers.question import Question
from projections.journeys import series
from projections.journeys.calendar import Bounds
from projections.journeys.quarter_hours import QUARTER_MS
from projections.journeys.series import Day
from projections.metrics import MEASURES, analytics
from projections.queries.campaigns import Campaign, Needs

NOTHING = [0] * len(MEASURES)
CAMPAIGN_KEYS = ("id", "name", "status", "workspace_id")
_EVER = 2**62  # quarter hours and milliseconds: later than anything


def dated(question: Question) -> Needs:
    """Return which rows give the sums of a period: those of days, or of journeys where these date everything."""
    return Needs.JOURNEYS if question.at_first_touch else Needs.DAYS


def days_of(campaign: Campaign, question: Question) -> list[Day]:
    """Return a campaign's days, of contributions dated as the question asks."""
    return campaign.at_first_touch() if question.at_first_touch else campaign.days


def totals(campaign: Campaign, question: Question, bounds: Bounds | None = None) -> Sequence[int | None]:
    """Return a campaign's sums in the period that is asked, or in another one, in order of `MEASURES`."""
    first, end = bounds or question.bounds
    if question.is_whole and bounds is None:
        return campaign.totals
    [sums] = series.bucketed(
        days_of(campaign, question), [-_EVER if first is None else first], _EVER if end is None else end
    )
    return sums


def in_ms(question: Question) -> tuple[int, int]:
    """Return the instants (ms, UTC) from which and up to which a question asks."""
    first, end = question.bounds
    return (-_EVER if first is None else first * QUARTER_MS, _EVER if end is None else end * QUARTER_MS)


def named(campaign: Campaign) -> tuple[int, str, Any, int]:
    """Return the fields with which a campaign's row begins, as `CAMPAIGN_KEYS`."""
    return campaign.campaign_id, campaign.name, campaign.status, campaign.workspace_id


def columns_of(question: Question, *keys: str) -> list[str]:
    """Return the names of a table's columns: these keys, and behind them the metrics."""
    return [*keys, *analytics(NOTHING, extended=question.extended)]


def cells_of(row: Any) -> dict[str, object]:  # noqa: ANN401 (a struct with `analytics`)
    """Return a row of a table by the names of its columns."""
    return {**asdict(row), **row.analytics}
