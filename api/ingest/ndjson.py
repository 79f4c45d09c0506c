"""Newline-delimited JSON: lines out of a stream of bytes, in bounded memory."""

from collections.abc import Iterable, Iterator

MEDIA_TYPE = "application/x-ndjson"
MAX_LINE_BYTES = 64 * 1024
_BLANK = b" \t\r"


class Splitter:
    """Splits what comes in pieces into lines."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._begun = bytearray()  # of the current line, two bytes more at most than it may have: CR and one too many

    def feed(self, piece: bytes) -> Iterator[bytes | None]:
        """Yield the lines that end in a piece, without their ends; None for one of more than 64 KiB, no blank ones."""
        first, *others = piece.split(b"\n")
        self._begun += first[: MAX_LINE_BYTES + 2 - len(self._begun)]
        if not others:
            return
        yield from _line(bytes(self._begun))
        for line in others[:-1]:
            yield from _line(line)
        self._begun = bytearray(others[-1][: MAX_LINE_BYTES + 2])

    def finish(self) -> Iterator[bytes | None]:
        """Yield a last line that has no end."""
        yield from _line(bytes(self._begun))


def lines(pieces: Iterable[bytes]) -> Iterator[bytes | None]:
    """Yield the lines of all these pieces, as `Splitter` does."""
    splitter = Splitter()
    for piece in pieces:
        yield from splitter.feed(piece)
    yield from splitter.finish()


def _line(line: bytes) -> Iterator[bytes | None]:
    if len(line) > MAX_LINE_BYTES + 1 or len(line.rstrip(b"\r")) > MAX_LINE_BYTES:
        yield None
    elif line.strip(_BLANK):
        yield line
