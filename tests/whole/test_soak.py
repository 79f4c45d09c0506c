"""Shows that nothing acknowledged is lost and no answer is wrong, whatever process is killed, again and again."""

import os

import pytest

from tests.support.running import free_port
from tests.support.servers import temporary_home
from tests.support.soak import Soak

pytestmark = [pytest.mark.processes, pytest.mark.load]

KILLS = int(os.environ.get("SOAK_KILLS", "20"))
SECONDS = float(os.environ.get("SOAK_SECONDS", "8"))


def test_kills_of_any_process_lose_nothing_and_make_no_answer_wrong() -> None:
    """With posts, deliveries, reads and replays going on; `make soak` does the same for ten minutes."""
    seed = int(os.environ.get("SOAK_SEED") or int.from_bytes(os.urandom(4)))
    print(f"SOAK_SEED={seed}")  # noqa: T201 (pytest shows it of a failure)
    with temporary_home() as home:
        soak = Soak(seed, home, free_port())
        try:
            soak.run(KILLS, SECONDS)
        finally:
            print(soak.figures())  # noqa: T201
