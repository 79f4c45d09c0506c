"""The web application as gunicorn runs it: the parts made from the environment, for one worker process."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from api.app import App, create_app
from api.auth.authentication import Authentication
from api.auth.last_use import LastUse
from api.auth.published_keys import PublishedKeys
from api.auth.rate_limit import RateLimit
from api.dependencies import APPENDS, Parts
from api.sampling import Sampler
from api.standbys import Standbys
from api.telemetry import Measurements
from api.threads import Threads
from domain.access import Access
from domain.recorder import Pool
from projections import access
from projections.building.wakeup import Hints
from projections.trouble import Trouble
from service import database, logs, references, settings, spans
from service.clock import clock

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Application:
    """An ASGI application with something to close."""

    answer: App
    parts: Parts
    hints: Hints
    sampler: Sampler

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI's)
        """Answer one request."""
        await self.answer(scope, receive, send)

    def sample(self) -> None:
        """Measure what the process is like now."""
        self.sampler.sample()

    def drain(self) -> None:
        """End what would never end by itself: the process is about to, and answers only what has come by now."""
        self.parts.streams.close()

    def close(self) -> None:
        """Write the pending uses of keys, and close the connections to the database."""
        self.hints.close()
        self.parts.authentication.last_use.close()
        self.parts.pool.close()
        if self.parts.standbys is not None:
            self.parts.standbys.close()
        self.parts.close()
        if self.parts.tracing is not None:
            self.parts.tracing.close()


def application() -> Application:
    """Return the application that the environment asks for; raise BadSettingError where it can't be made."""
    chosen = settings.from_environment(os.environ)
    if chosen.database_url is None:
        message = "DATABASE_URL: is not set"
        raise settings.BadSettingError(message)
    logs.configure(chosen)
    size = chosen.threads + APPENDS + 3  # one for the loop's reads, two for hints and for the uses of keys
    pool = database.open_pool(chosen.database_url, size=size, outage=database.new_outage())
    hints = Hints(pool)
    parts = replace(make_parts(pool, chosen, os.environ), appended=hints.give, tracing=spans.of(chosen))
    parts = replace(parts, standbys=_standbys(chosen, parts.measurements))
    if chosen.sessions is not None and isinstance(chosen.sessions.keys, PublishedKeys):
        chosen.sessions.keys.preload()
    return Application(create_app(parts), parts, hints, Sampler(parts))


def _standbys(chosen: settings.Settings, measurements: Measurements) -> Standbys | None:
    if chosen.database_read_url is None:
        return None
    outage = Trouble(logger, "no standby answers, the primary is read", "a standby answers again")
    pool = database.open_pool(chosen.database_read_url, size=chosen.threads, outage=outage, standby=True)
    return Standbys(pool, measurements)


def make_parts(pool: Pool, chosen: settings.Settings, environment: Mapping[str, str]) -> Parts:
    """Return the application's parts around a pool."""
    measurements = Measurements.of(environment)
    return Parts(
        pool=pool,
        threads=Threads(chosen.threads),
        authentication=Authentication(
            chosen.sessions,
            clock,
            LastUse(pool, clock),
            RateLimit(pool, chosen.rate_limit) if chosen.rate_limit else None,
        ),
        users=Access(pool, access.project, clock),
        clock=clock,
        measurements=measurements,
        migrations=database.known(),
        reading_origins=chosen.reading_origins,
        secret_of=partial(references.secret_of, environment=environment),
        embedding_origins=chosen.embedding_origins,
    )
