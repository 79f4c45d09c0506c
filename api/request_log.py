"""One log line a request: caller, workspace, method, route, status and duration; never a secret or a query."""

import logging
from typing import Any

_BAD = 400
QUIET = ("/healthz", "/readyz", "/metrics")  # probes would drown the rest

logger = logging.getLogger("access")  # the name that operators see


def log(context: Any, request_id: str, method: str, route: str, status: int, seconds: float) -> None:  # noqa: ANN401, PLR0913
    """Write the line, at level info; of probes that succeed, at level debug. The context is that of a request."""
    level = logging.DEBUG if route in QUIET and status < _BAD else logging.INFO
    if not logger.isEnabledFor(level):
        return
    fields = {
        "method": method,
        "route": route,
        "status": status,
        "ms": round(seconds * 1_000, 1),
        "request_id": request_id,
    }
    # Only an authenticated caller is named: an unknown prefix may be any text, a secret too.
    for name in ("user", "key", "workspace", "reason", "traceparent"):
        value = getattr(context, name, None)
        if value is not None:
            fields[name] = value
    logger.log(level, "request", extra=fields)
