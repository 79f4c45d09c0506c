"""What this process has rendered and keeps, so that an unchanged dashboard costs one small query.

What is kept never decides who may see what: the database says so for each request, and says too whether a workspace is
still at the generation and position that a piece was rendered of. Only then is the piece used.
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
    """Whole answers by their entity tags, which name what they are made of; the least used go first."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Take how many bytes to keep."""
        self._most = most_bytes
        self._bytes = 0
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, tag: str) -> bytes | None:
        """Return the answer that has this tag; None where it is not kept."""
        with self._lock:
            body = self._bodies.get(tag)
            if body is not None:
                self._bodies.move_to_end(tag)
            return body

    def keep(self, tag: str, body: bytes) -> None:
        """Keep an answer."""
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


class Kept:
    """Pieces by workspace, and which workspaces each caller saw last; the least used go first."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Take how many bytes to keep."""
        self._most = most_bytes
        self._bytes = 0
        self._pieces: OrderedDict[int, _Piece] = OrderedDict()
        self._seen: OrderedDict[Hashable, tuple[int, ...]] = OrderedDict()
        self._lock = Lock()

    def held(self, workspace_ids: Sequence[int]) -> dict[State, bytes]:
        """Return what is kept of these workspaces."""
        with self._lock:
            found = [self._pieces[each] for each in workspace_ids if each in self._pieces]
            for piece in found:
                self._pieces.move_to_end(piece.state.workspace_id)
        return {piece.state: piece.rendered for piece in found}

    def known_to(self, credentials: Credentials, asked: Asked) -> tuple[int, ...]:
        """Return the workspaces that somebody asks for, as far as that is known: those seen when last asked for."""
        return (asked.workspace_id,) if asked.workspace_id else self._seen.get((credentials, asked), ())

    def saw(self, caller: Hashable, workspace_ids: tuple[int, ...]) -> None:
        """Remember which workspaces somebody saw, so that what is kept of them can be offered the next time."""
        if self._seen.get(caller) == workspace_ids:
            return
        with self._lock:
            self._seen[caller] = workspace_ids
            self._seen.move_to_end(caller)
            if len(self._seen) > MOST_CALLERS:
                self._seen.popitem(last=False)

    def rendered(self, workspace: Workspace, held: dict[State, bytes], render: Callable[[Workspace], bytes]) -> bytes:
        """Return a workspace's campaigns, rendered now where they had to be read, else as they were kept."""
        key = workspace.standing.state
        if workspace.campaigns is None:
            return held[key]
        piece = _Piece(key, render(workspace))
        with self._lock:
            before = self._pieces.pop(key.workspace_id, None)
            self._bytes += len(piece.rendered) - (len(before.rendered) if before else 0)
            self._pieces[key.workspace_id] = piece
            while self._bytes > self._most:
                _, oldest = self._pieces.popitem(last=False)
                self._bytes -= len(oldest.rendered)
        return piece.rendered
