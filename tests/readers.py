"""What the dashboard shows, read from the read models without HTTP: for tests that look while others write."""

import json
from typing import Any

from api.answers.dashboard import render
from domain.recorder import Database
from projections.queries import dashboard
from projections.queries.caller import Asked, Credentials


def shown_to(database: Database, user: str, workspace_id: int) -> tuple[int, list[dict[str, Any]]]:
    """Return the position of a workspace that an answer to a user includes, and its campaigns as JSON has them."""
    sealed = dashboard.read(database, Credentials(session_user=user), Asked(workspace_id))
    workspaces = sealed.open(lambda _: None)
    assert workspaces is not None
    return workspaces[0].standing.position, json.loads(b"[%b]" % render(workspaces[0]))
