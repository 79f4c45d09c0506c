"""The database that the settings choose, for as long as a command uses it."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from domain.recorder import Pool
from service import database, embedded
from service.settings import BadSettingError, Settings

LOOK_SECONDS = 1.0  # between two looks at whether an embedded server still runs
STOPPED_SECONDS = 2.0  # the embedded PostgreSQL has gone by then, unless another process is attached to it

logger = logging.getLogger(__name__)


@contextmanager
def chosen_database(chosen: Settings) -> Iterator[str]:
    """Give the URL of the database; an embedded one runs for as long, and is brought to this version.

    Raises BadSettingError where the embedded one can't have its place.
    """
    if chosen.database_url is not None:
        yield chosen.database_url
        return
    try:
        attachment = embedded.attach(chosen.home)
    except OSError as error:
        msg = f"CAMPAIGN_ANALYTICS_HOME: {error.filename or chosen.home} can't be used: {error.strerror}"
        raise BadSettingError(msg) from error
    with attachment, watched(attachment):
        database.migrate(attachment.url)  # no operator migrates it
        yield attachment.url


@contextmanager
def watched(attachment: embedded.Attachment) -> Iterator[None]:
    """Start an embedded server again, and log it, within seconds after all of its processes have been killed."""
    ended = Event()

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            try:
                if attachment.revive():
                    logger.warning("the embedded PostgreSQL had ended, and was started again")
            except (embedded.EmbeddedUnavailable, OSError):
                logger.exception("the embedded PostgreSQL has ended, and can't be started again")

    watching = Thread(target=watch, name="embedded-postgresql", daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()


@contextmanager
def chosen_pool(chosen: Settings, statement_timeout: int = database.REQUEST_TIMEOUT) -> Iterator[Pool]:
    """Yield a small pool of connections; raise psycopg's OperationalError, which says why, where that fails."""
    with chosen_database(chosen) as url:
        database.connect_patiently(url, statement_timeout=statement_timeout).close()  # a pool would only time out
        with database.open_pool(url, size=2, statement_timeout=statement_timeout) as pool:
            yield pool


def wait_for_the_end(chosen: Settings) -> None:
    """Wait until an embedded database without users has stopped, so that no process is left."""
    until = time.monotonic() + STOPPED_SECONDS
    while chosen.database_url is None and embedded.running(chosen.home) and time.monotonic() < until:
        time.sleep(0.02)
