"""Caches of what answers are made of, in this process: an unchanged dashboard costs one small query, a page its rows.

A cache never decides who may see what: each request asks the database, which also compares the state of a workspace
(generation, position, epoch and mark) with that of the cached piece. A piece is used only where they are the same.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

from projections.queries.caller import Asked, Credentials
from projections.queries.dashboard import Workspace
from projections.queries.standing import State

MOST_BYTES = 64 * 1024 * 1024
MOST_CALLERS = 10_000
_SHARE = 8  # no value alone may take more than an eighth of all that is cached

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """A cache that is bounded in bytes; the least recently used values are evicted first. Threads may share it."""

    def __init__(self, size: Callable[[V], int], most_bytes: int = MOST_BYTES, share: int = _SHARE) -> None:
        """Take what returns the bytes of a value, the capacity, and which part of it one value may take."""
        self._size = size
        self._most = most_bytes
        self._most_of_one = most_bytes // share
        self._bytes = 0
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        """Return the value of a key; None where it is not cached."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: K, value: V) -> None:
        """Cache a value, in the place of one that the key has, unless it is too large."""
        size = self._size(value)
        with self._lock:
            before = self._values.pop(key, None)
            if before is not None:
                self._bytes -= self._size(before)
            if size > self._most_of_one:
                return
            self._values[key] = value
            self._bytes += size
            while self._bytes > self._most:
                _, oldest = self._values.popitem(last=False)
                self._bytes -= self._size(oldest)


class _Piece(NamedTuple):
    state: State
    rendered: bytes


class RenderedCache:
    """A cache of rendered pieces by workspace (LRU), and of the workspaces of each caller's last answer (FIFO)."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Take the capacity in bytes."""
        self._most = most_bytes
        self._bytes = 0
        self._pieces: OrderedDict[int, _Piece] = OrderedDict()
        self._seen: OrderedDict[Hashable, tuple[int, ...]] = OrderedDict()
        self._lock = Lock()

    def cached(self, workspace_ids: Sequence[int]) -> dict[State, bytes]:
        """Return the cached pieces of these workspaces, by the state that each was rendered of."""
        with self._lock:
            pieces = [self._pieces[each] for each in workspace_ids if each in self._pieces]
            for piece in pieces:
                self._pieces.move_to_end(piece.state.workspace_id)
        return {piece.state: piece.rendered for piece in pieces}

    def known_to(self, credentials: Credentials, asked: Asked) -> tuple[int, ...]:
        """Return the workspaces that a request is about: the one it names, or those of the caller's last answer."""
        return (asked.workspace_id,) if asked.workspace_id else self._seen.get((credentials, asked), ())

    def saw(self, caller: Hashable, workspace_ids: tuple[int, ...]) -> None:
        """Remember the workspaces of a caller's answer, so that the next request can use their cached pieces."""
        if self._seen.get(caller) == workspace_ids:
            return
        with self._lock:
            self._seen[caller] = workspace_ids
            self._seen.move_to_end(caller)
            if len(self._seen) > MOST_CALLERS:
                self._seen.popitem(last=False)

    def rendered(self, workspace: Workspace, cached: dict[State, bytes], render: Callable[[Workspace], bytes]) -> bytes:
        """Return a workspace's rendered campaigns: from rows that were read, else from the cache."""
        key = workspace.standing.state
        if workspace.campaigns is None:
            return cached[key]
        piece = _Piece(key, render(workspace))
        with self._lock:
            before = self._pieces.pop(key.workspace_id, None)
            self._bytes += len(piece.rendered) - (len(before.rendered) if before else 0)
            self._pieces[key.workspace_id] = piece
            while self._bytes > self._most:
                _, oldest = self._pieces.popitem(last=False)
                self._bytes -= len(oldest.rendered)
        return piece.rendered
