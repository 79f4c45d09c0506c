"""Posts batches over one HTTP connection that is kept open."""

from __future__ import annotations

import gzip
import http.client
import socket
import ssl
from typing import Callable, NamedTuple
from urllib.parse import urlsplit

from campaign_analytics_client.errors import ClientError

PACKED_FROM_BYTES = 16 * 1024  # a smaller body is taken unpacked, which costs the server less than to unpack it
MAX_ANSWER_BYTES = 16 * 1024 * 1024
_AGENT = "campaign-analytics-client/0.1.0"


class Answer(NamedTuple):
    """What came back for a post."""

    status: int
    retry_after: str | None
    body: bytes


class Packed(NamedTuple):
    """The body of a post, and the headers that tell what it is."""

    body: bytes
    headers: dict[str, str]


def pack(events: list[bytes]) -> Packed:
    """Return the body of a post of these events, packed by gzip where it is not small."""
    body = b'{"events":[' + b",".join(events) + b"]}"
    headers = {"Content-Type": "application/json"}
    if len(body) <= PACKED_FROM_BYTES:
        return Packed(body, headers)
    return Packed(gzip.compress(body, compresslevel=1), {**headers, "Content-Encoding": "gzip"})


class TransportError(ClientError):
    """No answer came: whether the post was taken is not known."""


class Transport:
    """A connection to the service, for one thread; `abort` may come from another one."""

    def __init__(
        self, url: str, api_key: str, workspace_id: int, timeout: float, context: ssl.SSLContext | None
    ) -> None:
        """Take the service's URL, a key of scope `write`, and the seconds to wait for each step; raise ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("url: expected the service's URL, such as https://analytics.example.com")
        if not api_key or not api_key.isascii() or not api_key.isprintable():
            raise ValueError("api_key: expected a key as it was issued")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._path = f"{parts.path.rstrip('/')}/api/v1/events/?workspace_id={workspace_id}"
        self._headers = {"X-API-Key": api_key, "User-Agent": _AGENT}
        self._timeout = timeout
        self._context = (context or ssl.create_default_context()) if self._secure else None
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None

    def post(self, packed: Packed, meanwhile: Callable[[], None]) -> Answer:
        """Post events, call `meanwhile` once while the server works, and return the answer.

        Raises TransportError where no answer comes.
        """
        try:
            if self._connection is not None:
                try:
                    self._send(self._connection, packed)
                    meanwhile()
                    return self._receive(self._connection)
                except ConnectionError:
                    self.close()  # the server has closed an idle connection; the same again does no harm
            self._connection = self._connect()
            self._send(self._connection, packed)
            meanwhile()
            return self._receive(self._connection)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise TransportError(f"no answer from the server: {type(error).__name__}: {error}") from error

    def abort(self) -> None:
        """Break off a post that waits for the server."""
        waiting = self._socket
        if waiting is not None:
            try:
                waiting.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is closed already

    def close(self) -> None:
        """Close the connection; the next post opens one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._socket = None

    def _connect(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._secure:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        connection.connect()
        self._socket = connection.sock
        return connection

    def _send(self, connection: http.client.HTTPConnection, packed: Packed) -> None:
        try:
            connection.request("POST", self._path, packed.body, {**self._headers, **packed.headers})
        except ConnectionError:
            if connection.sock is None:
                raise
            # A server that refuses a body may answer and close before it has read the whole: look for the answer.

    def _receive(self, connection: http.client.HTTPConnection) -> Answer:
        response = connection.getresponse()
        body = response.read(MAX_ANSWER_BYTES)
        if response.will_close or not response.isclosed():
            self.close()
        return Answer(response.status, response.headers.get("Retry-After"), body)
