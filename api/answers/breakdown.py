"""The numbers of the matching campaigns as one, by what they belong to: steps, senders, channels, hours of the week."""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

from api.answers.answering import Endpoint, Matched, selection_for
from api.answers.numbers import cells_of, columns_of, dated, days_of, in_ms
from api.answers.question import EVERYTHING, Question
from api.answers.tables import Table
from api.errors import BadRequestError
from api.http.parameters import Query, one_of
from api.http.schemas import Analytics, Count, Word
from projections.journeys.attribution import By, breakdown
from projections.journeys.series import by_hour_of_week
from projections.metrics import analytics
from projections.queries.campaigns import Needs, Selection

MOST_ROWS = 10_000
BREAKDOWNS: dict[str, tuple[By, ...]] = {
    ",".join(by): by for by in (("step",), ("step", "variant"), ("sender",), ("channel",))
}
HOURS: tuple[Literal["weekday"], Literal["hour"]] = ("weekday", "hour")
BY = one_of("by", "the values that make a row", [*BREAKDOWNS, ",".join(HOURS)], "step")


class BreakdownRow(Struct):
    """The numbers of what belongs to the same values; a weekday from 1, which is Monday, an hour from 0 to 23."""

    step: Count | UnsetType | None = UNSET
    variant: Word | UnsetType | None = UNSET
    sender: Word | UnsetType | None = UNSET
    channel: Word | UnsetType | None = UNSET
    weekday: Count | UnsetType = UNSET
    hour: Count | UnsetType = UNSET
    analytics: Analytics = field(default_factory=dict)


class Breakdown(Struct):
    """All matching campaigns as one, by the values of `by`."""

    by: list[By | Literal["weekday", "hour"]]
    rows: list[BreakdownRow]


def _by(question: Question) -> tuple[By, ...] | tuple[Literal["weekday"], Literal["hour"]]:
    by = question.values[BY]
    return HOURS if by == ",".join(HOURS) else BREAKDOWNS[by]


def _select(question: Question) -> Selection:
    return selection_for(question, dated(question) if _by(question) == HOURS else Needs.JOURNEYS)


def _breakdown(matched: Matched) -> Breakdown:
    question, by = matched.question, _by(matched.question)
    rows: dict[Any, list[int]]
    if by == HOURS:
        days = [day for campaign in matched.campaigns for day in days_of(campaign, question)]
        rows = by_hour_of_week(days, question.zone, question.bounds)
    else:
        own = BREAKDOWNS[question.values[BY]]
        rows = breakdown(matched.events(), own, *in_ms(question), at_first_touch=question.at_first_touch)
    if len(rows) > MOST_ROWS:
        fault = f"expected at most {MOST_ROWS} rows: ask for fewer campaigns, or a shorter period"
        raise BadRequestError((BY.name, fault))
    values: Any = [dict(zip(by, row, strict=True)) for row in rows]
    numbers = [analytics(sums, extended=question.extended) for sums in rows.values()]
    return Breakdown(list(by), [BreakdownRow(**row, analytics=of) for row, of in zip(values, numbers, strict=True)])


BREAKDOWN = Endpoint(
    "The numbers by what they belong to",
    Query(*EVERYTHING, BY),
    _select,
    _breakdown,
    (Breakdown,),
    lambda question: Table(columns_of(question, *_by(question)), lambda body: map(cells_of, body.rows)),
)
