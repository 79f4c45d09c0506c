"""The web application as gunicorn runs it: the parts made from the environment, for one worker process."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from wsgiref.types import StartResponse, WSGIEnvironment

from api.app import create_app
from api.authentication import Authentication
from api.measurements import Measurements, Projection
from api.parts import Parts
from domain.recorder import Pool
from service import database, logs, settings
from service.clock import clock


@dataclass(frozen=True)
class Application:
    """A WSGI application with something to close."""

    answer: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]
    pool: Pool

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        return self.answer(environ, start_response)

    def close(self) -> None:
        """Close the connections to the database."""
        self.pool.close()


def application() -> Application:
    """Return the application that the environment asks for; raise BadSettingError where it can't be made."""
    chosen = settings.from_environment(os.environ)
    if chosen.database_url is None:
        message = "DATABASE_URL: is not set"
        raise settings.BadSettingError(message)
    logs.configure(chosen)
    pool = database.open_pool(chosen.database_url, size=chosen.threads)
    parts = make_parts(pool, chosen, os.environ)
    return Application(create_app(parts), pool)


def make_parts(pool: Pool, chosen: settings.Settings, environment: Mapping[str, str]) -> Parts:
    """Return the application's parts around a pool."""
    measurements = Measurements(Projection(pool), environment)
    return Parts(
        pool=pool,
        authentication=Authentication(chosen.session_key, clock),
        clock=clock,
        measurements=measurements,
        schema_fault=database.schema_fault,
        waiting_requests=max(1, chosen.threads // 4),
    )
