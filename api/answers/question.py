"""What a dashboard may ask for: campaigns, a period, how it is dated, and the form of the answer; checked strictly."""

import re
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import NamedTuple, get_args
from zoneinfo import ZoneInfo

import falcon
from falcon.util.mediatypes import best_match

from api.errors import BadRequestError
from api.http.parameters import WORKSPACE, Parameters, asked, chosen, number, parameters, position
from domain.events import MAX_ID, Status, shown, time_zones
from projections.journeys.calendar import Bounds, bounds
from projections.queries.caller import Asked

MIN_POSITION = "min_position"
CAMPAIGN, STATUS = "campaign_id", "status"
START, END, ZONE, DATED = "start_date", "end_date", "timezone", "dated"
INCLUDE, FORMAT = "include", "format"
CSV = "text/csv"

FILTERS = (CAMPAIGN, STATUS)
PERIOD = (START, END, ZONE, DATED)
ALL_OF_IT = (WORKSPACE, MIN_POSITION, *FILTERS, *PERIOD, INCLUDE, FORMAT)

STATUSES = (*get_args(Status), "UNKNOWN")
UTC = "UTC"
_FIRST_DAY, _LAST_DAY = date(1970, 1, 1), date(2999, 12, 31)
_KEPT_CHARACTERS = 500  # nobody may fill the memory with long ones
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Question(NamedTuple):
    """What somebody asks of the read models."""

    asked: Asked
    min_position: int | None = None
    campaign_ids: tuple[int, ...] | None = None
    statuses: tuple[str, ...] | None = None
    zone: ZoneInfo = ZoneInfo(UTC)
    bounds: Bounds = Bounds(None, None)
    at_first_touch: bool = False
    extended: bool = False
    csv: bool = False
    own: Parameters = Parameters({}, {})  # what only this kind of question has

    @property
    def is_whole(self) -> bool:
        """Whether it is about all that has ever happened, wherever it is dated."""
        return self.bounds == Bounds(None, None) and not self.at_first_touch


def parse(request: falcon.Request, allowed: Sequence[str], *, every: bool = True) -> Question:
    """Return the question that a request's query asks; `every` says whether it may be about `ALL` workspaces.

    Raises BadRequestError, which names what is wrong and what is expected.
    """
    query, accept = request.query_string, request.get_header("Accept")
    parsed = _parsed if len(query) + len(accept or "") <= _KEPT_CHARACTERS else _parsed.__wrapped__
    return parsed(query, accept, tuple(allowed), every)


@lru_cache(maxsize=1_000)  # dashboards ask the same again and again
def _parsed(query: str, accept: str | None, allowed: tuple[str, ...], every: bool) -> Question:  # noqa: FBT001
    given = parameters(query, allowed, repeatable=FILTERS)
    wanted, min_position = asked(given.one, every=every), position(given.one, MIN_POSITION)
    if wanted.every and min_position is not None:
        raise BadRequestError((MIN_POSITION, "expected only with one workspace"))
    zone = _zone(given.one.get(ZONE, UTC))
    form = chosen(given.one, FORMAT, ("json", "csv")) if FORMAT in given.one else None
    return Question(
        wanted,
        min_position,
        _campaign_ids(given.many.get(CAMPAIGN)),
        _statuses(given.many.get(STATUS)),
        zone,
        _bounds(given.one, zone),
        chosen(given.one, DATED, ("event", "first_touch")) == "first_touch",
        INCLUDE in given.one and chosen(given.one, INCLUDE, ("extended",)) == "extended",
        form == "csv" or (form is None and FORMAT in allowed and _prefers_csv(accept)),
        given,
    )


def _campaign_ids(texts: list[str] | None) -> tuple[int, ...] | None:
    expected = f"expected a number from 1 to {MAX_ID}"
    return None if texts is None else tuple(number(CAMPAIGN, text, 1, expected) for text in texts)


def _statuses(texts: list[str] | None) -> tuple[str, ...] | None:
    for text in texts or ():
        if text not in STATUSES:
            raise BadRequestError((STATUS, f"expected one of {', '.join(STATUSES)}"))
    return None if texts is None else tuple(texts)


def _zone(name: str) -> ZoneInfo:
    if name not in time_zones():
        raise BadRequestError((ZONE, f"{shown(name)} is not an IANA time zone"))
    return ZoneInfo(name)


def _bounds(given: dict[str, str], zone: ZoneInfo) -> Bounds:
    start, end = _date(given, START), _date(given, END)
    if start is not None and end is not None and end < start:
        raise BadRequestError((END, f"expected no day before {START}"))
    return bounds(start, end, zone)


def _date(given: dict[str, str], name: str) -> date | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        day = date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None or not _FIRST_DAY <= day <= _LAST_DAY:
        raise BadRequestError((name, f"expected a day from {_FIRST_DAY} to {_LAST_DAY} as YYYY-MM-DD"))
    return day


def _prefers_csv(accept: str | None) -> bool:
    if accept is None:
        return False
    try:
        return best_match((falcon.MEDIA_JSON, CSV), accept) == CSV
    except falcon.errors.InvalidMediaRange:
        return False
