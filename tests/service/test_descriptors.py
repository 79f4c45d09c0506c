"""Shows that a worker process without a free file descriptor makes room, says so once, and goes on."""

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from projections.trouble import Trouble
from service.web import worker
from service.web.worker import Worker


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Let this process open nothing meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_worker_without_a_descriptor_waits_for_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It neither ends nor spins, the connection that is idle longest makes room, and who came is accepted then."""
    monkeypatch.setattr(worker, "Protocol", lambda _: asyncio.Protocol())
    tries, aborted = [], []

    class Idle:
        at_work = False

        class transport:  # noqa: N801 (asyncio's name)
            @staticmethod
            def abort() -> None:
                aborted.append(1)

    class Trying(Worker):
        def _accept(self, listener: socket.socket) -> None:
            tries.append(1)
            super()._accept(listener)

    async def run() -> None:
        made = Trying.__new__(Trying)
        made.loop, made.load, made.alive, made.nr_conns = asyncio.get_running_loop(), None, True, 0
        made.protocols = {Idle(): None}  # type: ignore[dict-item]
        made._left_to_others, made._connecting = 0, set()
        made.full = Trouble(worker.logger, "connections can't be accepted", "connections are accepted again")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(0)
            with socket.create_connection(listener.getsockname()):
                with no_descriptor_left():
                    made._listen(listener)
                    async with asyncio.timeout(5):
                        while len(tries) < 4:  # noqa: ASYNC110 (there is no event to wait for)
                            await asyncio.sleep(worker.ROOM_SECONDS)
                async with asyncio.timeout(5):
                    while not made._connecting:  # noqa: ASYNC110 (there is no event to wait for)
                        await asyncio.sleep(0)
                made.loop.remove_reader(listener.fileno())
                for transport, _ in await asyncio.gather(*made._connecting):
                    transport.close()

    asyncio.run(run())
    assert aborted
    assert len(tries) < 10
    assert [each.message.partition(":")[0] for each in caplog.records if each.levelname != "DEBUG"] == [
        "connections can't be accepted",
        "connections are accepted again",
    ]


def test_the_limit_of_descriptors_is_raised_and_connections_follow_from_it() -> None:
    """As far as the hard limit allows; what else a process opens is left free."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        expected = min(10_000, (10_100 if hard == resource.RLIM_INFINITY else hard) - 100)
        assert worker.most_connections() == expected
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= expected + 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
