"""Equal requests of one tick of the event loop share one statement and one answer.

That is safe: their credentials are the same bytes, and the statement that checks the caller and reads the rows is sent
after all of these requests have arrived.
"""

import asyncio
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import NamedTuple, Self

import falcon

from api.auth.authentication import HEADER
from api.http.headers import REQUEST_ID, SECURITY

_SENT = (HEADER, "Cookie", "If-None-Match", "Accept")  # what an answer depends on, beside path and query
_OWN = REQUEST_ID.lower()
_ALREADY = {(name.lower(), value) for name, value in SECURITY}  # every answer has these from the first
_KNOWN = ("user", "key", "workspace")  # what the access log writes of a request


class _Answer(NamedTuple):
    """The status, headers and body of an answer."""

    status: str | int
    headers: list[tuple[str, str]]
    data: bytes | None


class Group:
    """A request that is being answered, and the equal requests that wait for its answer; a context manager."""

    def __init__(self, alike: "Alike", key: Hashable, request: falcon.Request, response: falcon.Response) -> None:
        """Take the requests of this tick, the key of this one, and the request with its response."""
        self._alike = alike
        self._key = key
        self._request = request
        self._response = response
        self._waiting: list[asyncio.Future[_Answer | None]] = []

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def open(self) -> None:
        """Accept equal requests until the next statements are sent; none has been sent for this request yet."""
        self._alike.add(self._key, self)

    def __exit__(self, _: object, error: BaseException | None, __: TracebackType | None) -> None:
        """Give the waiting requests the answer or the error; if this client has gone, each is answered by itself."""
        self._alike.remove(self._key, self)
        waiting = [each for each in self._waiting if not each.done()]
        if not waiting:
            return
        answer = None
        if error is None:
            headers = [each for each in self._response.headers.items() if each not in _ALREADY and each[0] != _OWN]
            answer = _Answer(self._response.status, headers, self._response.data)
        for each in waiting:
            if isinstance(error, Exception):
                each.set_exception(error)
            else:
                each.set_result(answer)

    async def answers(self, request: falcon.Request, response: falcon.Response) -> bool:
        """Wait, and copy the answer to another request; return whether there was one, or raise the error."""
        coming: asyncio.Future[_Answer | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(coming)
        try:
            answer = await coming
        finally:
            for name in _KNOWN:
                setattr(request.context, name, getattr(self._request.context, name, None))
        if answer is None:
            return False
        response.status, response.data = answer.status, answer.data
        response.set_headers(answer.headers)
        return True


class Alike:
    """The requests of this tick that equal requests may wait for."""

    def __init__(self, sendings: Callable[[], int]) -> None:
        """Take the counter of sendings: a request's statement is unsent until it has grown."""
        self._sendings = sendings
        self._since = -1
        self._groups: dict[Hashable, Group] = {}

    def find(self, key: Hashable) -> Group | None:
        """Return a request with this key whose statement is still to be sent."""
        return self._groups.get(key) if self._since == self._sendings() else None

    def add(self, key: Hashable, group: Group) -> None:
        """Register a request until statements are sent."""
        if self._since != self._sendings():
            self._since = self._sendings()
            self._groups.clear()
        self._groups[key] = group

    def remove(self, key: Hashable, group: Group) -> None:
        """Unregister a request."""
        if self._groups.get(key) is group:
            del self._groups[key]


def key_of(request: falcon.Request) -> Hashable:
    """Return the key that equal requests share."""
    return (request.path, request.query_string, *map(request.get_header, _SENT))
