"""What the tests of the page stand on: a browser, and a service with the demonstration's data."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser

from service.demo.outreach import activity
from tests.support.browser import launched
from tests.support.databases import Databases
from tests.support.examples import api_key
from tests.support.running import Service, serving, users_of


# Of a module, not of all tests: while it is open, Playwright's event loop runs in this thread, and no other one can.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give a browser for all tests of a module."""
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def url(browser: Browser, databases: Databases) -> Iterator[str]:
    """Give a database for all tests of a module, where they can be run at all."""
    del browser
    with databases.lend() as made:
        yield made


@pytest.fixture(scope="module")
def service(url: str) -> Iterator[Service]:
    """Give a service with the demonstration's data in workspaces 1 and 2."""
    with serving(url) as running:
        with users_of(url) as users:
            key = api_key(users, 1, 2, user="seeds")
        for workspace in (1, 2):
            events = activity(7, workspace, until=datetime.now(UTC))
            position = running.post(workspace, key, *events).json["position"]
            assert running.dashboard(key, f"workspace_id={workspace}&min_position={position}").status == 200
        yield running


@pytest.fixture(scope="module")
def key(url: str, service: Service) -> str:
    """Give a key that may read both workspaces, of which 1 is the current one."""
    del service
    with users_of(url) as users:
        return api_key(users, 1, 2, user="reads", scopes=("read",))["X-API-Key"]
