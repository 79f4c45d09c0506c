"""Sends a worker's outreach events to campaign-analytics, each exactly once, through a spool on disk."""

from campaign_analytics_client.calls import Batch
from campaign_analytics_client.client import Client
from campaign_analytics_client.errors import (
    ClientError,
    ClosedError,
    ForkedError,
    InvalidEventError,
    SpoolDamagedError,
    SpoolError,
    SpoolFullError,
)
from campaign_analytics_client.rows import DeadLetter
from campaign_analytics_client.sender import Stats
from campaign_analytics_client.testing import RecordingClient

__all__ = [
    "Batch",
    "Client",
    "ClientError",
    "ClosedError",
    "DeadLetter",
    "ForkedError",
    "InvalidEventError",
    "RecordingClient",
    "SpoolDamagedError",
    "SpoolError",
    "SpoolFullError",
    "Stats",
]
