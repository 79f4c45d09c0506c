"""Reads values out of what a provider posted: by path, as text, as a whole number, as an instant."""

import math
import re
from decimal import Decimal
from functools import cache

from connectors.table import Newest
from domain.events import MAX_PROSPECT_ID
from domain.instants import parse_instant

_MILLISECONDS_FROM = 10**11  # a number of seconds this high lies in the year 5138, so it is milliseconds
_YEAR_1 = -62_135_596_800_000
_YEAR_10000 = 253_402_300_800_000
_LONGEST_TIME = 64  # characters
_HIGHEST = 10**MAX_PROSPECT_ID  # an integer from here on is longer than any id may be
_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?", re.ASCII)
_BLANK_FOR_T = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}) ([0-9])")
_OFFSET_WITHOUT_COLON = re.compile(r"([+-][0-9]{2})([0-9]{2})?$")
_AFTER_THE_TIME = re.compile(r".*[0-9]:[0-9]{2}.*[+-][0-9]{2}(?:[0-9]{2})?$")


def find(payload: object, path: str) -> object | None:
    """Return the first value that is there among a path's alternatives, None where none is (or no path is given)."""
    for steps in _alternatives(path):
        value = payload
        for step in steps:
            value = _inside(value, step)
        if value is not None and not (isinstance(value, str) and not value.strip()):
            return value
    return None


@cache
def _alternatives(path: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(one.strip().split(".")) for one in path.split("|")) if path else ()


def _inside(value: object, step: str) -> object | None:
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list):
        if step.isdecimal():
            return value[int(step)] if int(step) < len(value) else None
        named = (entry for entry in value if isinstance(entry, dict) and entry.get("name") == step)
        return next((entry.get("value") for entry in named), None)
    return None


def text_of(value: object) -> str | None:
    """Return a string as it is and an integer in decimal, None for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _HIGHEST else None


def whole_of(value: object, *, text: bool = False) -> int | None:
    """Return a JSON integer, and with `text` what is a decimal string too; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if text and isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 19:  # noqa: PLR2004 (2^63)
        return int(value)
    return None


def is_one_of(value: object, values: tuple[object, ...]) -> bool:
    """Whether a value is one of the values; strings in whatever case."""
    folded = value.casefold() if isinstance(value, str) else value
    return any(folded == (one.casefold() if isinstance(one, str) else one) for one in values)


def instant_of(value: object) -> int | None:
    """Return the milliseconds since 1970 that a time names, further digits cut; None where it can't be read.

    Its form is recognised: a number of seconds, whole or not, or of milliseconds; RFC 3339, also with a blank for the
    `T` and with an offset without its colon or minutes. A time without an offset names no instant.
    """
    if isinstance(value, str):
        text = value.strip()[: _LONGEST_TIME + 1]
        return _of_number(Decimal(text)) if _NUMBER.fullmatch(text) else _of_text(text)
    if isinstance(value, float):
        return _of_number(Decimal(repr(value))) if math.isfinite(value) else None
    whole = whole_of(value)
    return None if whole is None or abs(whole) >= _HIGHEST else _of_number(Decimal(whole))


def _of_number(number: Decimal) -> int | None:
    instant = int(number if abs(number) >= _MILLISECONDS_FROM else number * 1000)
    return instant if _YEAR_1 <= instant < _YEAR_10000 else None


def _of_text(text: str) -> int | None:
    if len(text) > _LONGEST_TIME:
        return None
    text = _BLANK_FOR_T.sub(r"\1T\2", text)
    if _AFTER_THE_TIME.match(text):
        text = _OFFSET_WITHOUT_COLON.sub(lambda offset: f"{offset[1]}:{offset[2] or '00'}", text)
    try:
        return parse_instant(text)
    except (ValueError, OverflowError):
        return None


def newest_of(payload: object, newest: Newest) -> object | None:
    """Return the time of the newest entry as it is written, None where there is none with a readable one."""
    entries = find(payload, newest.entries)
    times = [
        (instant, time)
        for entry in (entries if isinstance(entries, list) else [])
        if find(entry, newest.where) == newest.value
        and (instant := instant_of(time := find(entry, newest.time))) is not None
    ]
    return max(times, key=lambda dated: dated[0])[1] if times else None
