"""What a dashboard may ask for: campaigns, a period, how it is dated, and the form of the answer; checked strictly."""

import re
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

import falcon
from falcon.util.mediatypes import best_match, quality

from api.errors import BadRequestError
from api.http.parameters import (
    ID,
    WORKSPACE,
    ExpectedError,
    Json,
    Parameter,
    Query,
    Values,
    number,
    one_of,
    read_number,
)
from domain.campaign_keys import campaign_id_of_key
from domain.events import MAX_CAMPAIGN_KEY, MAX_ID, Status
from domain.instants import parse_instant
from domain.texts import shown
from domain.zones import time_zone, time_zones
from projections.journeys.calendar import Bounds, bounds
from projections.queries.caller import Asked

CSV = "text/csv"
ShownStatus = Status | Literal["UNKNOWN"]
STATUSES = (*get_args(Status), "UNKNOWN")
UTC = "UTC"
_FIRST_DAY, _LAST_DAY = date(1970, 1, 1), date(2999, 12, 31)
_CACHED_CHARACTERS = 500  # longer queries are not cached, so that they don't fill the memory
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY: Json = {
    "type": "string",
    "format": "date",
    "pattern": "^(19[7-9][0-9]|2[0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
}


def _campaign_ids(texts: list[str]) -> tuple[int, ...]:
    more = "; for several campaigns repeat the parameter" if any("," in text for text in texts) else ""
    return tuple(sorted({read_number(text, more=more) for text in texts}))


def _campaign_keys(texts: list[str]) -> tuple[str, ...]:
    if any(len(text) > MAX_CAMPAIGN_KEY for text in texts):
        raise ExpectedError(f"expected at most {MAX_CAMPAIGN_KEY} characters")
    return tuple(sorted(set(texts)))


def _statuses(texts: list[str]) -> tuple[str, ...]:
    for text in texts:
        if text not in STATUSES:
            more = "; for several of them repeat the parameter" if "," in text else ""
            raise ExpectedError(f"expected one of {', '.join(STATUSES)}{more}")
    return tuple(sorted(set(texts)))


def _zone(texts: list[str]) -> str:
    if texts[0] not in time_zones():
        raise ExpectedError(f"{shown(texts[0])} is not an IANA time zone")
    return texts[0]


def _date(texts: list[str]) -> date:
    try:
        day = date.fromisoformat(texts[0]) if _DATE.fullmatch(texts[0]) else None
    except ValueError:
        day = None
    if day is None or not _FIRST_DAY <= day <= _LAST_DAY:
        raise ExpectedError(f"expected a day from {_FIRST_DAY} to {_LAST_DAY} as YYYY-MM-DD")
    return day


class Moment(NamedTuple):
    """A place in the log: a position, or the instant (ms, UTC) up to which events were recorded."""

    position: int | None = None
    at: int | None = None


def _moment(texts: list[str]) -> Moment:
    text = texts[0]
    try:
        if text.isdecimal():
            return Moment(position=read_number(text, 0))
        return Moment(at=parse_instant(text))
    except (ExpectedError, ValueError) as error:
        raise ExpectedError("expected a position, or an instant in RFC 3339 with an offset") from error


def moment(name: str, text: str, *, required: bool = False) -> Parameter[Moment | None]:
    """Return a parameter that names a place in the log."""
    schema: Json = {
        "anyOf": [{"type": "integer", "minimum": 0, "maximum": MAX_ID}, {"type": "string", "format": "date-time"}]
    }
    return Parameter(name, text, schema, _moment, None, required=required)


MIN_POSITION = number(
    "min_position",
    "one workspace only: the answer includes every event up to this position of its log, or is a 503 after 5 s",
    0,
    MAX_ID,
)
AS_OF: Parameter[Moment | None] = moment(
    "as_of", "the numbers as the log had them at this position or instant; one workspace only"
)
CAMPAIGN: Parameter[tuple[int, ...] | None] = Parameter(
    "campaign_id", "only these campaigns", ID, _campaign_ids, None, repeatable=True
)
CAMPAIGN_KEY: Parameter[tuple[str, ...] | None] = Parameter(
    "campaign_key",
    "only the campaigns that their tools name so, beside those of `campaign_id`",
    {"type": "string", "minLength": 1, "maxLength": MAX_CAMPAIGN_KEY},
    _campaign_keys,
    None,
    repeatable=True,
)
STATUS: Parameter[tuple[str, ...] | None] = Parameter(
    "status",
    "only campaigns of these statuses",
    {"type": "string", "enum": list(STATUSES)},
    _statuses,
    None,
    repeatable=True,
)
START: Parameter[date | None] = Parameter(
    "start_date", "the first day of the period, in the time zone", _DAY, _date, None
)
END: Parameter[date | None] = Parameter("end_date", "the last day of the period, included", _DAY, _date, None)
ZONE = Parameter(
    "timezone",
    "an IANA time zone, in exact case, such as Europe/Berlin",
    {"type": "string", "minLength": 1, "default": UTC},
    _zone,
    UTC,
)
DATED = one_of(
    "dated",
    "whether each contribution counts when it happened, or all of a journey's at its first outbound touch",
    ("event", "first_touch"),
    "event",
)
INCLUDE = one_of("include", "more metrics behind the nine", ("extended",))
BOM = one_of("bom", "CSV begins with a byte order mark, by which spreadsheets know UTF-8", ("1",))
FORMAT = one_of("format", "the form of the answer; stands over Accept", ("json", "csv"))

FILTERS = (CAMPAIGN, CAMPAIGN_KEY, STATUS)
PERIOD = (START, END, ZONE, DATED)
FORM = (FORMAT, BOM)
EVERYTHING = (WORKSPACE, MIN_POSITION, *FILTERS, *PERIOD, INCLUDE, AS_OF, *FORM)


@dataclass(frozen=True)
class Question:
    """What a request asks of the read models."""

    values: Values
    asked: Asked
    bounds: Bounds
    csv: bool

    @property
    def min_position(self) -> int | None:
        """Return the position that the answer must include."""
        position: int | None = self.values[MIN_POSITION]
        return position

    @property
    def campaign_ids(self) -> list[int] | None:
        """Return the ids of the campaigns that are asked for, by id or by key; None: all."""
        ids, keys = self.values[CAMPAIGN], self.values[CAMPAIGN_KEY]
        if ids is None and keys is None:
            return None
        return sorted({*(ids or ()), *map(campaign_id_of_key, keys or ())})

    @property
    def zone(self) -> ZoneInfo:
        """Return the time zone of the period's days."""
        return time_zone(self.values[ZONE])

    @property
    def at_first_touch(self) -> bool:
        """Whether all of a journey's contributions count at its first outbound touch."""
        return bool(self.values[DATED] == "first_touch")

    @property
    def extended(self) -> bool:
        """Whether the answer shows more metrics than the nine."""
        return self.values[INCLUDE] is not None

    @property
    def is_whole(self) -> bool:
        """Whether it is about all that has ever happened, wherever it is dated."""
        return self.bounds == Bounds(None, None) and not self.at_first_touch

    @cached_property
    def normal(self) -> tuple[str, bool]:
        """Return the question's normal form: questions with the same one have the same answer."""
        return self.values.normal(without=(MIN_POSITION, FORMAT)), self.csv

    @cached_property
    def is_plain(self) -> bool:
        """Whether it asks for nothing but workspaces: any other parameter that is not at its default makes it false."""
        return not self.csv and not self.values.normal(without=(WORKSPACE, MIN_POSITION, FORMAT))


def parse(request: falcon.Request, query: Query) -> Question:
    """Return the question that a request asks of a resource.

    Raises BadRequestError, which names what is wrong and what is expected.
    """
    text, accept = request.query_string, request.get_header("Accept")
    parsed = _parsed if len(text) + len(accept or "") <= _CACHED_CHARACTERS else _parsed.__wrapped__
    return parsed(text, accept, query)


@lru_cache(maxsize=1_000)  # dashboards ask the same again and again
def _parsed(text: str, accept: str | None, query: Query) -> Question:
    values = query.read(text)
    asked, start, end = values[WORKSPACE], values[START], values[END]
    if asked.every and values[MIN_POSITION] is not None:
        raise BadRequestError((MIN_POSITION.name, "expected only with one workspace"))
    if asked.every and values[AS_OF] is not None:
        raise BadRequestError((AS_OF.name, "expected only with one workspace"))
    if start is not None and end is not None and end < start:
        raise BadRequestError((END.name, f"expected no day before {START.name}"))
    form = values[FORMAT]
    csv = form == "csv" or (form is None and FORMAT in query.parameters and _prefers_csv(accept))
    return Question(values, asked, bounds(start, end, time_zone(values[ZONE])), csv)


def _prefers_csv(accept: str | None) -> bool:
    """Return whether CSV is preferred; media types have no case, and a malformed range voids only itself."""
    ranges = [each for each in (accept or "").lower().split(",") if _is_media_range(each)]
    return bool(ranges) and best_match((falcon.MEDIA_JSON, CSV), ",".join(ranges)) == CSV


def _is_media_range(text: str) -> bool:
    try:
        quality(CSV, text)
    except falcon.errors.InvalidMediaRange:
        return False
    return True
