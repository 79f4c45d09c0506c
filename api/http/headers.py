"""The header fields of every answer, of the application and of the server before it, and those that name a trace."""

import re
from collections.abc import Iterable
from random import Random

REQUEST_ID = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
TRACEPARENT, TRACESTATE = "traceparent", "tracestate"  # W3C Trace Context; it has none for answers
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

# Characters of headers that take longer to read than their length would let one think, before anybody is authenticated.
LONGEST = {"Accept": 1_024, "Content-Type": 256, "Cookie": 16_384, "If-None-Match": 4_096}

# From OWASP's REST security cheat sheet: an API's answers are data, not to be sniffed, framed or stored.
SECURITY = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)

_random = Random()  # noqa: S311 (an id is no secret, and random bytes of the system take ten times as long)


def with_one_cookie_line(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an ASGI scope with all cookies in one line, as RFC 9113, section 8.2.3, joins them.

    Of several lines Falcon would read the last one alone, so that a cookie could stand twice and not be noticed.
    """
    pairs = [(name, value) for name, value in headers]  # ASGI allows any iterables
    lines = [value for name, value in pairs if name == b"cookie"]
    if len(lines) < 2:  # noqa: PLR2004
        return pairs
    return [*(each for each in pairs if each[0] != b"cookie"), (b"cookie", b"; ".join(lines))]


def request_id_of(header: str | None) -> str:
    """Return the id that a client gives its request, or a new one where it gives none or no valid one."""
    return header if header and _REQUEST_ID.fullmatch(header) else f"{_random.getrandbits(128):032x}"


def traceparent_of(header: str | None) -> str | None:
    """Return a valid `traceparent` in the form of its version 00, all hexadecimal digits; None for any other.

    What a later version has behind that is left out ("Versioning of traceparent").
    """
    match = _TRACEPARENT.fullmatch(header) if header else None
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not int(trace, 16) or not int(span, 16):
        return None
    return f"00-{trace}-{span}-{flags}"
