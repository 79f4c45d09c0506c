"""An instant is a whole number of milliseconds since 1970 in UTC; this is how it is read and written."""

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 24 * 60 * 60 * 1000  # ms

# RFC 3339, section 5.6 ("T" and "Z" may be lower case), without leap seconds. Python's own parser takes far more.
_is_rfc_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
).fullmatch
BEFORE_1970 = -1


def parse_instant(text: str) -> int:
    """Return the milliseconds since 1970 that an RFC 3339 time with an offset names; further digits are cut.

    A time in the year 0, which `datetime` does not know, is `BEFORE_1970`. Raises ValueError for anything else.
    """
    if not _is_rfc_3339(text):
        msg = "expected an RFC 3339 time with an offset, such as 2026-11-01T10:00:00Z"
        raise ValueError(msg)
    try:
        since = datetime.fromisoformat(text.upper()) - _EPOCH
    except ValueError:
        if not text.startswith("0000-"):
            raise
        datetime.fromisoformat("2000" + text[4:].upper())  # a leap year too, so month and day are still checked
        return BEFORE_1970
    return since.days * _DAY + since.seconds * 1_000 + since.microseconds // 1_000  # half of the time of a division


def format_instant(instant: int) -> str:
    """Return an instant (ms since 1970) as RFC 3339 in UTC with milliseconds and `Z`."""
    moment = _EPOCH + timedelta(milliseconds=instant)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{instant % 1000:03d}Z"
