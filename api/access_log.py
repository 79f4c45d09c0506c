"""One log line a request: caller, workspace, method, path, status and duration; never a secret or a query."""

import logging

import falcon

_BAD = 400
QUIET = ("/healthz", "/readyz", "/metrics")  # probes would drown the rest

logger = logging.getLogger("access")


def log(request: falcon.Request, response: falcon.Response, route: str, method: str, seconds: float) -> None:
    """Write the line, at level info; of probes that succeed, at level debug."""
    level = logging.DEBUG if route in QUIET and response.status_code < _BAD else logging.INFO
    if not logger.isEnabledFor(level):
        return
    context = request.context
    fields = {
        "method": method,
        "route": route,
        "status": response.status_code,
        "ms": round(seconds * 1_000, 1),
        "request_id": context.request_id,
    }
    # Only an authenticated caller is named: an unknown prefix may be any text, a secret too.
    for name in ("user", "key", "workspace", "reason", "traceparent"):
        value = getattr(context, name, None)
        if value is not None:
            fields[name] = value
    logger.log(level, "request", extra=fields)
