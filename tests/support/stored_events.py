"""Puts events into a workspace's log, spoils them, and reads which are there."""

import json
from typing import Any

from domain import ledger
from domain.events import TOPICS, Event, encode
from domain.ledger import LogRow, event_key
from domain.recorder import Pool
from tests.support.examples import parsed


def record(pool: Pool, workspace_id: int, *events: dict[str, Any]) -> None:
    """Record events as a worker posts them."""
    with pool.connection() as database:
        ledger.record(database, workspace_id, parsed(*events))


def execute(pool: Pool, statement: str, *parameters: object) -> None:
    """Run a statement."""
    with pool.connection() as database:
        database.execute(statement.encode(), parameters)


def spoil(pool: Pool, position: int, what: str) -> None:
    """Make an event of workspace 1 such that it can't be folded."""
    change = {
        "topic": "topic = 'domain.events:FromTheFuture'",
        "state": "state = 'not JSON'",
        "fields": """state = '{"id":"e-1","campaign_id":123}'""",
    }[what]
    execute(pool, f"UPDATE stored_events SET {change} WHERE workspace_id = 1 AND position = %s", position)


def log(pool: Pool, workspace_id: int = 340) -> list[str]:
    """Return the ids of the events in a workspace's log, in order."""
    with pool.connection() as database:
        rows = ledger.read(database, workspace_id, after=0, upto=2**62, limit=100_000)
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    return [json.loads(row.state)["id"] for row in rows]


def log_of(*events: Event) -> list[LogRow]:
    """Return events as the rows of a log."""
    return [LogRow(n, TOPICS[type(event)], encode(event), event_key(event)) for n, event in enumerate(events, 1)]
