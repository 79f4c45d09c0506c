"""Lists of campaigns: the part of a name that is searched, the order, and pages.

A page begins behind the last row of the page before, so rows that come or go meanwhile shift none of the others.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar

import msgspec

from api.answers.question import INCLUDE, MIN_POSITION, Question
from api.errors import BadRequestError
from api.http.cursors import cursor_of, encode
from api.http.parameters import ExpectedError, Parameter, number, one_of
from projections.metrics import METRICS, Derived, Shown

MAX_SEARCH = 256
_T = TypeVar("_T")
_FIELDS = ("id", "name", "status")
_METRICS = tuple(metric.name for metric in METRICS if metric.shown != Shown.NEVER)
_EXTENDED = {metric.name for metric in METRICS if metric.shown == Shown.EXTENDED}


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where a page ends: in which list, behind which row."""

    listing: str
    key: str | int | None  # what the rows are sorted by; a fraction as text
    workspace_id: int
    campaign_id: int


class Row(NamedTuple):
    """What a row is searched and sorted by; `key` is what `SORT` names, None where it has no value."""

    workspace_id: int
    campaign_id: int
    name: str
    key: str | int | Fraction | None


def _read_search(texts: list[str]) -> str:
    if len(texts[0]) > MAX_SEARCH:
        raise ExpectedError(f"expected at most {MAX_SEARCH} characters")
    return texts[0].casefold()


def _sort(metrics: Sequence[str]) -> Parameter[str | None]:
    words = [f"{sign}{name}" for name in (*_FIELDS, *metrics) for sign in ("", "-")]
    return one_of(
        "sort",
        "the order, by workspace and id without it; with - before it descending, null last, ties by workspace and id",
        words,
    )


SEARCH: Parameter[str | None] = Parameter(
    "search",
    "only campaigns whose name has this part, whatever the case of letters",
    {"type": "string", "minLength": 1, "maxLength": MAX_SEARCH},
    _read_search,
    None,
)
SORT = _sort(_METRICS)
SORT_CAMPAIGNS = _sort(("prospect_count",))
LIMIT: Parameter[int | None] = number("limit", "so many at a time; without it all", 1, 1_000)
CURSOR = cursor_of(_Cursor)
_PAGING = (MIN_POSITION, LIMIT, CURSOR)


def check(question: Question) -> None:
    """Raise BadRequestError for a sort by a hidden metric, and for a cursor of another list or without a limit."""
    values = question.values
    if sorted_by(question) in _EXTENDED and not question.extended:
        raise BadRequestError((SORT.name, f"expected a metric that is shown: ask with {INCLUDE.name}=extended"))
    cursor = values[CURSOR]
    if cursor is not None and values[LIMIT] is None:
        raise BadRequestError((LIMIT.name, f"is missing: {CURSOR.name} goes with it"))
    if cursor is not None and cursor.listing != _listing(question):
        raise BadRequestError((CURSOR.name, "belongs to another question"))


def sorted_by(question: Question) -> str | None:
    """Return the field or metric by which a list is sorted; None: by workspace and id alone."""
    sort = question.values[SORT]
    return None if sort is None else sort.lstrip("-")


def sort_key(metric: str, totals: Callable[[str], int | None]) -> int | Fraction | None:
    """Return the sort key of a metric: its exact value, also where the answer shows it rounded or in words.

    `totals` gives the sum of a measure by its name, None where it is not known.
    """
    rule = next(each.rule for each in METRICS if each.name == metric)
    if not isinstance(rule, Derived):
        return totals(metric)
    part, whole = (totals(name) for name in rule.of)
    return None if part is None or not whole else Fraction(part, whole)


def page(question: Question, rows: Sequence[_T], of: Callable[[_T], Row]) -> tuple[list[_T], str | None]:
    """Return the rows of the asked page, in the asked order, and the cursor of the next one; `of` describes a row."""
    search, descending = question.values[SEARCH], (question.values[SORT] or "").startswith("-")
    described = [(of(row), row) for row in rows]
    matching = [(each, row) for each, row in described if search is None or search in each.name.casefold()]
    matching.sort(key=lambda pair: pair[0][:2])
    present = [pair for pair in matching if pair[0].key is not None]
    present.sort(key=lambda pair: pair[0].key, reverse=descending)  # type: ignore[arg-type, return-value]  # one type
    ordered = present + [pair for pair in matching if pair[0].key is None]
    cursor, limit = question.values[CURSOR], question.values[LIMIT]
    if cursor is not None:
        ordered = [pair for pair in ordered if _is_behind(pair[0], cursor, descending=descending)]
    if limit is None or len(ordered) <= limit:
        return [row for _, row in ordered], None
    last = ordered[limit - 1][0]
    key = str(last.key) if isinstance(last.key, Fraction) else last.key
    following = _Cursor(_listing(question), key, last.workspace_id, last.campaign_id)
    return [row for _, row in ordered[:limit]], encode(following)


def _is_behind(row: Row, cursor: _Cursor, *, descending: bool) -> bool:
    is_fraction = isinstance(cursor.key, str) and not isinstance(row.key, str)
    key: Any = Fraction(cursor.key) if is_fraction and cursor.key is not None else cursor.key
    if row.key == key:
        return (row.workspace_id, row.campaign_id) > (cursor.workspace_id, cursor.campaign_id)
    if row.key is None or key is None:
        return row.key is None
    return bool(row.key < key if descending else row.key > key)


def _listing(question: Question) -> str:
    return sha256(repr(question.values.normal(without=_PAGING)).encode()).hexdigest()[:16]
