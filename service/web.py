"""The web application as gunicorn runs it: the parts made from the environment, for one worker process."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from wsgiref.types import StartResponse, WSGIEnvironment

from api.ahead import Ahead
from api.app import create_app
from api.authentication import Authentication
from api.last_use import LastUse
from api.measurements import Measurements, Projection
from api.parts import Parts
from api.published_keys import PublishedKeys
from api.rate_limit import RateLimit
from domain.access import Access
from domain.recorder import Pool
from projections import access
from projections.hints import Hints
from service import database, logs, settings
from service.clock import clock


@dataclass(frozen=True)
class Application:
    """A WSGI application with something to ask ahead and to close."""

    answer: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]
    ahead: Ahead | None  # None: nothing is asked ahead
    parts: Parts
    hints: Hints

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        return self.answer(environ, start_response)

    def close(self) -> None:
        """Write what is still to be written, and close the connections to the database."""
        self.hints.close()
        self.parts.authentication.last_use.close()
        self.parts.pool.close()


def application() -> Application:
    """Return the application that the environment asks for; raise BadSettingError where it can't be made."""
    chosen = settings.from_environment(os.environ)
    if chosen.database_url is None:
        message = "DATABASE_URL: is not set"
        raise settings.BadSettingError(message)
    logs.configure(chosen)
    pool = database.open_pool(chosen.database_url, size=chosen.threads + 1)  # one for what runs beside the requests
    hints = Hints(pool)
    parts = replace(make_parts(pool, chosen, os.environ), appended=hints.give)
    if chosen.sessions is not None and isinstance(chosen.sessions.keys, PublishedKeys):
        chosen.sessions.keys.preload()
    app = create_app(parts)
    return Application(app, app.ahead, parts, hints)


def make_parts(pool: Pool, chosen: settings.Settings, environment: Mapping[str, str]) -> Parts:
    """Return the application's parts around a pool."""
    measurements = Measurements(Projection(pool), environment)
    return Parts(
        pool=pool,
        authentication=Authentication(
            chosen.sessions,
            clock,
            LastUse(pool, clock),
            RateLimit(pool, chosen.rate_limit) if chosen.rate_limit else None,
        ),
        users=Access(pool, access.project, clock),
        clock=clock,
        measurements=measurements,
        schema_fault=database.schema_fault,
        waiting_requests=max(1, chosen.threads // 4),
        reading_origins=chosen.reading_origins,
    )
