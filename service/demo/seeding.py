"""The demonstration: two workspaces with some weeks of activity, sent through the real endpoint by HTTP."""

import http.client
import json
import os
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from domain.access import Access
from domain.recorder import Pool
from projections import access
from projections.building import status
from service import database
from service.clock import clock
from service.demo.outreach import activity
from service.settings import Settings

WORKSPACES = (1, 2)
USER = "demo"
KEY_NAME = "demo"
KEY_FILE = "demo-key"  # in the home; it holds the whole key, and is its owner's alone
BY = "cli:demo"
SEED = 7
READY_SECONDS = 60.0
_LOOK_SECONDS = 0.05
_WITH_KEY = f"/api/v1/campaigns/?workspace_id={WORKSPACES[0]}"


class DemoError(Exception):
    """The demonstration could not be set up; the text says why."""


def demonstrate(url: str, database_url: str, stop: Event, chosen: Settings) -> None:
    """Wait until the service answers, give it data where it has none, and print how to ask it."""
    _until(stop, lambda: _get(url, "/readyz", {})[0] == http.client.OK, "the service does not get ready")
    with database.open_pool(database_url, size=2) as pool:
        key = _key(pool, url, chosen.home / KEY_FILE)
        with pool.connection() as connection:
            seeded = {each.workspace_id for each in status.workspaces(connection)}
        for workspace in WORKSPACES:
            if workspace not in seeded and not stop.is_set():
                _send(url, key, workspace)
        _until(stop, lambda: _caught_up(pool), "the projection does not catch up")
    if not stop.is_set():
        anew = f"delete {chosen.home}" if chosen.database_url is None else "name an empty database in DATABASE_URL"
        sys.stderr.write(_HOW_TO_ASK.format(url=url, key=key, anew=anew))
        sys.stderr.flush()


_HOW_TO_ASK = """
campaign-analytics is up, with two demo workspaces in it.

  URL      {url}
  API key  {key}

Look at it, signed in:

  {url}/#key={key}

Ask it:

  curl -s -H 'X-API-Key: {key}' '{url}/api/v1/dashboard/campaign-analytics/?workspace_id=ALL'

Look at all that it answers, and try it, in a browser: {url}/docs

Ctrl-C stops it; its data and the key stay. To begin anew, stop it and {anew}.
"""


def _key(pool: Pool, url: str, file: Path) -> str:
    """Return the API key of the demo's user: the one in the file, as long as the service takes it, else a new one."""
    users = Access(pool, access.project, clock)
    for workspace in WORKSPACES:
        users.link(USER, workspace, BY)
    with suppress(FileNotFoundError):
        stored_key = file.read_text(encoding="ascii", errors="replace").strip()
        if (
            stored_key.isascii()
            and stored_key.isprintable()
            and _get(url, _WITH_KEY, {"X-API-Key": stored_key})[0] == http.client.OK
        ):
            return stored_key
    user = users.user(USER)
    for key in list(user.keys.values()) if user else []:  # their secrets are lost
        users.revoke_key(USER, key.prefix, BY)
    made = users.issue_key(USER, scopes=("read", "write"), name=KEY_NAME, expires_at=None, by=BY).key
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as written:
        written.write(f"{made}\n")
    return made


def _send(url: str, key: str, workspace: int) -> None:
    events = activity(SEED, workspace, until=datetime.now(UTC))
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    body = json.dumps({"events": events}).encode()  # in one request, so a log holds all of it or nothing
    answered, answer = _request(url, "POST", f"/api/v1/events/?workspace_id={workspace}", headers, body)
    if answered != http.client.OK:
        msg = f"the service refused demo data: {answered} {answer[:200]!r}"
        raise DemoError(msg)


def _caught_up(pool: Pool) -> bool:
    with pool.connection() as connection:
        return status.lag(connection).events == 0


def _until(stop: Event, holds: Any, otherwise: str) -> None:  # noqa: ANN401 (a function without arguments)
    """Wait until a condition is true or the demo is to stop; raise DemoError where it takes too long."""
    until = time.monotonic() + READY_SECONDS
    while not stop.is_set() and not holds():
        if time.monotonic() > until:
            raise DemoError(otherwise)
        stop.wait(_LOOK_SECONDS)


def _get(url: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    return _request(url, "GET", path, headers, None)


def _request(url: str, method: str, path: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
