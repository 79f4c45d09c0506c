"""How long prospects took to reply: the distribution of the matching campaigns' turns."""

from typing import Any, Literal, get_args

from msgspec import UNSET, Struct, UnsetType

from api.answers.answering import Endpoint, Matched, selection_for
from api.answers.numbers import in_ms
from api.answers.question import AS_OF, FILTERS, MIN_POSITION, PERIOD, Question
from api.http.parameters import WORKSPACE, Query, one_of
from api.http.schemas import Count, Id, Word
from projections.journeys.columns import EventColumns
from projections.journeys.reply_times import BOUNDS, distribution, turns
from projections.metrics import reply_time_in_seconds, reply_time_in_words
from projections.queries.campaigns import Needs, Selection

ReplyBy = Literal["step", "sender", "channel", "campaign"]
BY = one_of("by", "the value that makes a row", get_args(ReplyBy))


class HistogramClass(Struct):
    """How many turns took longer than the class before, and up to these seconds; the last class has no bound."""

    up_to_seconds: Count | None
    count: Count


class ReplyTimes(Struct, kw_only=True):
    """How turns are distributed; percentiles are by nearest rank, null where there is no turn."""

    step: Count | UnsetType | None = UNSET
    sender: Word | UnsetType | None = UNSET
    channel: Word | UnsetType | None = UNSET
    campaign: Id | UnsetType = UNSET
    workspace_id: Id | UnsetType = UNSET  # beside `campaign`, where several workspaces are asked for
    count: Count
    mean_seconds: float | None
    median_seconds: float | None
    p75_seconds: float | None
    p90_seconds: float | None
    p95_seconds: float | None
    longest_seconds: float | None
    median: Word | None
    histogram: list[HistogramClass]


class ReplyTimesBy(Struct):
    """The same by row."""

    by: ReplyBy
    rows: list[ReplyTimes]


def _select(question: Question) -> Selection:
    return selection_for(question, Needs.JOURNEYS)


def _body(matched: Matched) -> ReplyTimes | ReplyTimesBy:
    question, by = matched.question, matched.question.values[BY]
    if by is None:
        return _shown(_turns(question, matched.events()))
    if by == "campaign":
        several = question.asked.every
        rows = [
            _shown(
                _turns(question, campaign.unpacked()),
                campaign=campaign.campaign_id,
                **({"workspace_id": campaign.workspace_id} if several else {}),
            )
            for campaign in matched.campaigns
        ]
        return ReplyTimesBy(by, [row for row in rows if row.count])
    by_row = turns(matched.events(), (by,), *in_ms(question), at_first_touch=question.at_first_touch)
    return ReplyTimesBy(by, [_shown(durations, **{by: value}) for (value,), durations in by_row.items()])


def _turns(question: Question, events: EventColumns) -> Any:  # noqa: ANN401 (numpy's integers)
    return turns(events, (), *in_ms(question), at_first_touch=question.at_first_touch)[()]


def _shown(durations: Any, **row: Any) -> ReplyTimes:  # noqa: ANN401 (numpy's integers; the values of a row)
    of = distribution(durations)
    histogram = [
        HistogramClass(None if bound is None else bound // 1_000, count)
        for bound, count in zip((*BOUNDS, None), of.histogram, strict=True)
    ]
    return ReplyTimes(
        **row,
        count=of.turns,
        mean_seconds=reply_time_in_seconds(of.total, of.turns),
        median_seconds=_seconds(of.median),
        p75_seconds=_seconds(of.p75),
        p90_seconds=_seconds(of.p90),
        p95_seconds=_seconds(of.p95),
        longest_seconds=_seconds(of.longest),
        median=None if of.median is None else reply_time_in_words(of.median, 1),
        histogram=histogram,
    )


def _seconds(duration: int | None) -> float | None:
    return None if duration is None else duration / 1_000


REPLY_TIMES = Endpoint(
    "How long prospects took to reply",
    Query(WORKSPACE, MIN_POSITION, *FILTERS, *PERIOD, AS_OF, BY),
    _select,
    _body,
    (ReplyTimes, ReplyTimesBy),
)
