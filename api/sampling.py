"""What a worker process is like at a moment, put where the metrics of its tree are told from."""

import logging

from api import telemetry
from api.auth.published_keys import PublishedKeys
from api.dependencies import Parts
from projections.trouble import Trouble

logger = logging.getLogger(__name__)


class Sampler:
    """Samples the queues, the pool and the keys of one process; on its event loop."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts
        self._trouble = Trouble(logger, "what this process is like can't be measured", "it is measured again")

    def sample(self) -> None:
        """Sample; whatever goes wrong is logged once and stops nothing: no request depends on it."""
        try:
            self._parts.measurements.sampled(self._now())
        except Exception as error:  # noqa: BLE001 (a defect of measuring)
            self._trouble.met(f"{type(error).__name__}: {error}")
        else:
            self._trouble.over()

    def _now(self) -> dict[str, float]:
        parts, pool = self._parts, self._parts.pool.get_stats()
        queues = {
            "append": parts.appending.waiting,
            "read": parts.reads.waiting,
            "thread": parts.threads.waiting,
            "position": parts.waiting.number,
        }
        values: dict[str, float] = {f"{telemetry.QUEUE}\t{name}": number for name, number in queues.items()}
        values[telemetry.POOL_SIZE] = pool["pool_max"]
        values[telemetry.POOL_IN_USE] = pool["pool_size"] - pool["pool_available"]
        values[telemetry.POOL_WAITS] = pool.get("requests_queued", 0)
        values[telemetry.POOL_WAIT_SECONDS] = pool.get("requests_wait_ms", 0) / 1_000
        values[telemetry.POOL_FAILURES] = pool.get("requests_errors", 0)
        sessions = parts.authentication.sessions
        if sessions is not None and isinstance(sessions.keys, PublishedKeys):
            values[telemetry.KEYS_FETCHED_AT] = sessions.keys.fetched_at
            for outcome, number in sessions.keys.fetches.items():
                values[f"{telemetry.KEYS_FETCHES}\t{outcome}"] = number
        return values
