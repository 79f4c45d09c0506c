"""Adds hooks, and posts to them what tools post."""

import json
from typing import Any

from falcon import testing

from api.tools import KNOWN
from domain.hooks import Hooks, NewHook, Terms
from domain.recorder import Pool
from projections import access
from projections.queries import hooks
from service.clock import clock

SENT = {  # as Smartlead says that an e-mail was sent
    "event_type": "EMAIL_SENT",
    "campaign_id": 4711,
    "campaign_name": "Spring",
    "sl_lead_email": "Jane@Example.com",
    "event_timestamp": "2026-03-02T10:00:00Z",
    "sequence_number": 1,
    "stats_id": "s-1",
}


def connected(pool: Pool) -> Hooks:
    """Return the hooks of a database."""
    return Hooks(pool, access.project_hooks, clock, KNOWN)


def add_hook(pool: Pool, provider: str, workspace_id: int = 340, **terms: Any) -> NewHook:
    """Add a hook."""
    return connected(pool).add(Terms(workspace_id=workspace_id, provider=provider, **terms), "cli:test")


def path_of(provider: str, token: str) -> str:
    """Return where a tool posts to."""
    return f"/api/v1/hooks/{provider}/{token}"


def deliver(
    client: testing.TestClient, provider: str, token: str, body: Any, headers: dict[str, str] | None = None
) -> testing.Result:
    """Post a delivery, given as bytes or as what is to be JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.simulate_post(path_of(provider, token), body=raw, headers=headers or {})


def received(pool: Pool) -> dict[tuple[str, str, str], int]:
    """Return what is counted of the only hook, by name, outcome and reason."""
    with pool.connection() as database:
        (hook,) = hooks.listed(database)
    return {(each.name, each.outcome, each.reason): each.number for each in hook.received}
