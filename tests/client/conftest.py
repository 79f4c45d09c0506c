"""What the tests of the client stand on: a server that answers as it is asked to, and a new spool."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import dummy
from tests.client.dummy import Dummy


@pytest.fixture
def server() -> Iterator[Dummy]:
    """Give a server that takes everything, unless the test scripts it."""
    with dummy.serving() as serving:
        yield serving


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Give the path of a spool that is not there yet."""
    return tmp_path / "spool"
