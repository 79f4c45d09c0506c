"""Clients that are there and ask for little: connections that are idle, and requests that wait."""

import asyncio
import re
import resource
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

_AT_ONCE = 50  # connections that are being opened
_WAITED = (200, 503)  # 503: it has waited as long as it may


@contextmanager
def crowd(url: str, idle: str, waiting: str, headers: Mapping[str, str], numbers: tuple[int, int]) -> Iterator[None]:
    """Keep so many connections idle after one request for a path, and ask for another path on so many without end."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    clients = _Clients(url, headers)
    try:
        asyncio.run_coroutine_threadsafe(clients.come(idle, waiting, *numbers), loop).result()
        yield
    finally:
        try:
            asyncio.run_coroutine_threadsafe(clients.go(), loop).result()
        finally:
            _end(loop, thread)


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class _Clients:
    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._head = f"Host: {parts.netloc}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._writers: list[asyncio.StreamWriter] = []
        self._waiting: list[asyncio.Task[None]] = []
        self._opening = asyncio.Semaphore(_AT_ONCE)

    async def come(self, idle: str, waiting: str, idle_number: int, waiting_number: int) -> None:
        await asyncio.gather(*(self._rest(idle) for _ in range(idle_number)))
        self._waiting = [asyncio.ensure_future(self._wait(waiting)) for _ in range(waiting_number)]
        await asyncio.sleep(0.5)  # until all of them are there

    async def go(self) -> None:
        """Leave; raise what has gone wrong with those that wait."""
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)
        for task in self._waiting:
            if not task.cancelled():
                task.result()

    async def _rest(self, path: str) -> None:
        async with self._opening:
            await self._ask(*await self._open(), path)

    async def _wait(self, path: str) -> None:
        async with self._opening:
            connection = await self._open()
        while True:
            await self._ask(*connection, path)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        self._writers.append(writer)
        return reader, writer

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
        writer.write(f"GET {path} HTTP/1.1\r\n{self._head}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)\r\ncontent-length: *([0-9]+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        if int(head.split(" ", 2)[1]) not in _WAITED:
            raise RuntimeError(head)
