"""Numbered events in a spool, a sender that moves them step by step, and processes that find the client."""

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from campaign_analytics_client.lease import Lease
from campaign_analytics_client.sender import Sender
from campaign_analytics_client.spool import Spool
from campaign_analytics_client.transport import Transport

EVENT = {"type": "EmailSent", "campaign_id": 123, "occurred_at": "2026-11-01T10:00:00Z"}


def bodies(*numbers: int) -> list[bytes]:
    """Return numbered events as the spool keeps them."""
    return [json.dumps({**EVENT, "id": f"e-{number}", "prospect_id": "p"}).encode() for number in numbers]


def ids(*numbers: int) -> list[str]:
    """Return the ids of numbered events."""
    return [f"e-{number}" for number in numbers]


@contextmanager
def sending(path: Path, url: str, *numbers: int, batch_events: int = 500, timeout: float = 30) -> Iterator[Sender]:
    """Give a sender that moves step by step, with these events in its spool."""
    with closing(Spool(path, workspace_id=340)) as spool:
        spool.append(bodies(*numbers))
    transport = Transport(url, "k.s", 340, timeout, None)
    with closing(Spool(path, sender=True)) as spool, closing(Lease(path)) as lease, closing(transport):
        yield Sender(spool, lease, transport, batch_events=batch_events, chance=lambda: 0.0)


def python_path() -> dict[str, str]:
    """Return an environment in which Python finds the client."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "client")}
