"""Imports OpenTelemetry only where spans are asked for, in the process that sends them."""

import logging
from typing import TYPE_CHECKING

from service.settings import Settings

if TYPE_CHECKING:
    from api.tracing import Tracing

logger = logging.getLogger(__name__)


def of(chosen: Settings) -> "Tracing | None":
    """Return what makes spans; None where none are asked for, or the extra `otel` is missing, which is logged.

    A platform may name its collector to all that it runs, so that the latter ends no start.
    """
    if not chosen.traces:
        return None
    try:
        from api.tracing import Tracing  # noqa: PLC0415 (only where it is asked for)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        logger.warning("no spans are sent, the extra otel is not installed: pip install 'campaign-analytics[otel]'")
        return None
    return Tracing.to_collector()
