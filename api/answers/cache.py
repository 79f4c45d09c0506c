"""A cache of rendered answers in this process, so that an unchanged dashboard costs one small query.

The cache never decides who may see what: each request asks the database, which also compares the generation and the
position of a workspace with those of the cached piece. A piece is used only where both are the same.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import NamedTuple

from projections.queries.caller import Asked, Credentials
from projections.queries.dashboard import Workspace
from projections.queries.standing import State

MOST_BYTES = 64 * 1024 * 1024
MOST_CALLERS = 10_000
_SHARE = 8  # no body alone may take more than an eighth of all that is cached


class Bodies:
    """A cache of whole answers by entity tag; the least recently used are evicted first."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Take the capacity in bytes."""
        self._most = most_bytes
        self._bytes = 0
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, tag: str) -> bytes | None:
        """Return the answer that has this tag; None where it is not cached."""
        with self._lock:
            body = self._bodies.get(tag)
            if body is not None:
                self._bodies.move_to_end(tag)
            return body

    def keep(self, tag: str, body: bytes) -> None:
        """Cache an answer, unless it is larger than an eighth of the cache."""
        with self._lock:
            if tag in self._bodies or len(body) > self._most // _SHARE:
                return
            self._bodies[tag] = body
            self._bytes += len(body)
            while self._bytes > self._most:
                _, oldest = self._bodies.popitem(last=False)
                self._bytes -= len(oldest)


class _Piece(NamedTuple):
    state: State
    rendered: bytes


class RenderedCache:
    """A cache of rendered pieces by workspace, and of the workspaces of each caller's last answer; LRU."""

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
