"""The hostile world that is measured: random journeys of ten events over twenty campaigns."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

from eventsourcing.postgres import PostgresDatastore
from psycopg.sql import SQL

from domain import ledger
from domain.events import Event
from domain.parsing import parse
from domain.recorder import Database, Pool
from service import database
from tests.support.servers import temporary_server

CAMPAIGNS = 20
EVENTS_A_JOURNEY = 10
KINDS = (
    "EmailSent",
    "EmailSent",
    "EmailOpened",
    "InviteSent",
    "InviteAccepted",
    "LinkedInMessageSent",
    "ReplyReceived",
)
# Rows as posts would have left them, but made where they are kept.
_EMAILS = SQL("""
INSERT INTO stored_events (workspace_id, originator_id, originator_version, topic, state, position, recorded_at)
SELECT %(workspace_id)s, gen_random_uuid(), 1, 'domain.events:EmailSent', convert_to(format(
    '{{"id":"f-%%s","campaign_id":%%s,"occurred_at":1790000000000,"prospect_id":"prospect-%%s","step":1,"sender_id":"sender-1"}}',
    n, n %% 20 + 1, n / 10), 'UTF8'), n, now()
FROM generate_series(%(first)s::bigint, %(last)s) AS n
""").format()


def events(number: int, seed: int = 1, prefix: str = "e") -> list[Event]:
    """Return so many events in random order, as the ledger takes them."""
    rng = random.Random(seed)
    journeys = max(1, number // EVENTS_A_JOURNEY)
    return [_event(rng, f"{prefix}-{seed}-{each}", rng.randrange(journeys)) for each in range(number)]


def _event(rng: random.Random, identity: str, journey: int) -> Event:
    day, hour, minute, second = rng.randint(1, 28), rng.randrange(24), rng.randrange(60), rng.randrange(60)
    return parse(
        {
            "id": identity,
            "type": rng.choice(KINDS),
            "campaign_id": journey % CAMPAIGNS + 1,
            "prospect_id": f"prospect-{journey}",
            "occurred_at": f"2026-10-{day:02}T{hour:02}:{minute:02}:{second:02}Z",
            "step": rng.randrange(4),
            "sender_id": f"sender-{rng.randrange(3)}",
        },
        2**62,
    )


@contextmanager
def fresh_pool() -> Iterator[tuple[str, Pool]]:
    """Give the URL of a database of a durable server of its own, with our tables in it, and connections to it."""
    with temporary_server(durable=True) as url:
        database.migrate(url)
        with database.open_pool(url, size=4, statement_timeout=database.BATCH_TIMEOUT) as pool:
            yield url, pool


def fill(pool: Pool, workspace_id: int, events: list[Event]) -> None:
    """Append events to a workspace's log."""
    with pool.connection() as connection:
        for first in range(0, len(events), 5_000):
            ledger.record(connection, workspace_id, events[first : first + 5_000])


def insert_emails(database: Database, workspace_id: int, first: int, last: int) -> None:
    """Put e-mails into the log of a workspace, at the positions from `first` to `last`; its head stays as it is."""
    database.execute(_EMAILS, {"workspace_id": workspace_id, "first": first, "last": last})


def library_settings(url: str) -> dict[str, str]:
    """Return the URL of our own server as the library's datastore takes it, which takes no URL."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    return {
        "dbname": parts.path.lstrip("/"),
        "host": query["host"][0],
        "port": "5432",
        "user": query.get("user", [parts.username or ""])[0],
        "password": "unused",
    }


def library_datastore(url: str) -> PostgresDatastore:
    """Return the library's connections to our own server; the caller closes them."""
    return PostgresDatastore(**library_settings(url))  # type: ignore[arg-type]  # its other parameters are no strings
