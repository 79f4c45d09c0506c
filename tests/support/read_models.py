"""Brings read models up to date, and shows what they hold and how far they are; without HTTP."""

import json
from typing import Any

import pytest

from api.answers.dashboard import render
from domain.recorder import Database, Pool
from projections.building import replay, replay_by_parts, status
from projections.building.projector import Projector
from projections.building.status import WorkspaceStatus
from projections.queries import dashboard
from projections.queries.caller import Asked, Credentials


def shown_to(database: Database, user: str, workspace_id: int) -> tuple[int, list[dict[str, Any]]]:
    """Return the position of a workspace that an answer to a user includes, and its campaigns as JSON has them."""
    sealed = dashboard.read(database, Credentials(session_user=user), Asked(workspace_id))
    workspaces = sealed.open(lambda _: None)
    assert workspaces is not None
    return workspaces[0].standing.position, json.loads(b"[%b]" % render(workspaces[0]))


def project_all(pool: Pool, batch: int = 5_000) -> None:
    """Project everything that can be projected now."""
    projector = Projector(pool, batch=batch)
    while projector.step():
        pass


def shown(pool: Pool, workspace_id: int) -> list[dict[str, Any]]:
    """Return the campaigns that the dashboard shows of a workspace."""
    with pool.connection() as database:
        database.execute(
            "INSERT INTO workspace_link VALUES ('reader', %s, false) ON CONFLICT DO NOTHING", (workspace_id,)
        )
        _, campaigns = shown_to(database, "reader", workspace_id)
    assert all(campaign.pop("workspace_id") == workspace_id for campaign in campaigns)
    return list(campaigns)


def live_rows(database: Database, workspace_id: int) -> list[list[Any]]:
    """Return every live read row of a workspace, without its generation."""
    live = "(SELECT generation FROM projection AS p WHERE p.workspace_id = %(id)s)"
    select = f"WHERE workspace_id = %(id)s AND generation = {live} ORDER BY 1, 2"
    tables = {
        "campaign": "campaign_id, about, name, status, totals, facts, counted",
        "campaign_activity": "campaign_id, day, sums, quarters",
        "journey": "campaign_id, prospect_id, facts, details",
    }
    return [
        database.execute(f"SELECT {columns} FROM {table} {select}".encode(), {"id": workspace_id}).fetchall()
        for table, columns in tables.items()
    ]


def state(pool: Pool, workspace_id: int) -> WorkspaceStatus:
    """Return how far a workspace is projected."""
    with pool.connection() as database:
        return next(each for each in status.workspaces(database) if each.workspace_id == workspace_id)


def stuck_at(pool: Pool, workspace_id: int) -> int | None:
    """Return the position of the event at which a workspace is stuck."""
    stuck = state(pool, workspace_id).stuck
    return stuck and stuck.position


def progress(pool: Pool, workspace_id: int) -> tuple[int, int, int | None]:
    """Return a workspace's head, its projected position, and where it is stuck."""
    status_now = state(pool, workspace_id)
    return status_now.head, status_now.position, stuck_at(pool, workspace_id)


def in_small_pieces(monkeypatch: pytest.MonkeyPatch, chunk: int = 11, part: int = 30, nearly_there: int = 3) -> None:
    """Let a replay cut the log into many chunks and parts, and catch up in many steps."""
    monkeypatch.setattr(replay_by_parts, "EVENTS_A_CHUNK", chunk)
    monkeypatch.setattr(replay_by_parts, "EVENTS_A_PART", part)
    monkeypatch.setattr(replay, "NEARLY_THERE", nearly_there)
    monkeypatch.setattr(replay, "CATCH_UP", 11)


def ignore(_: int) -> None:
    """Take no notice of progress."""


def row_counts(pool: Pool, table: str) -> int:
    """Count all rows of a table, of whatever generation."""
    with pool.connection() as database:
        row = database.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])
