"""The header fields of every answer, of the application and of the server before it, and those that name a trace."""

import re

REQUEST_ID = "X-Request-ID"
TRACEPARENT, TRACESTATE = "traceparent", "tracestate"  # W3C Trace Context; it has none for answers
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

# From OWASP's REST security cheat sheet: an API's answers are data, not to be sniffed, framed or stored.
SECURITY = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)


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
