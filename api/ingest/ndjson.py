"""Newline-delimited JSON: lines out of a stream of bytes, in bounded memory."""

from collections.abc import Iterable, Iterator

from api.http.strict_json import BOM

MEDIA_TYPE = "application/x-ndjson"
MAX_LINE_BYTES = 64 * 1024
_BLANK = b" \t\r"
_MOST_BEGUN = MAX_LINE_BYTES + len(BOM) + 2  # the mark goes, so does a CR, and one byte more makes the line too long


# A line that is not blank: which one of all it is, from 1, and its text, None where it has more than 64 KiB. It is a
# plain tuple, since there are millions.
Line = tuple[int, bytes | None]


class Splitter:
    """Splits what comes in pieces into lines; a byte order mark may stand before the first one."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._begun = bytearray()  # of the current line
        self._lines = self._blank = 0

    @property
    def blank(self) -> int:
        """Return how many of the lines so far were blank."""
        return self._blank

    def feed(self, piece: bytes) -> Iterator[Line]:
        """Yield the lines that end in a piece, without their ends and without the blank ones."""
        first, *others = piece.split(b"\n")
        self._begun += first[: _MOST_BEGUN - len(self._begun)]
        if others:
            ended = self._ended()
            self._begun = bytearray(others.pop()[:_MOST_BEGUN])
            yield from self._not_blank((ended, *others))

    def finish(self) -> Iterator[Line]:
        """Yield a last line that has no end."""
        if self._begun:
            yield from self._not_blank((self._ended(),))

    def _ended(self) -> bytes:
        text = bytes(self._begun)
        return text if self._lines else text.removeprefix(BOM)

    def _not_blank(self, texts: Iterable[bytes]) -> Iterator[Line]:
        number = self._lines
        for number, text in enumerate(texts, number + 1):  # noqa: B020 (it goes on from where it was)
            if len(text) > MAX_LINE_BYTES and len(text.removesuffix(b"\r")) > MAX_LINE_BYTES:
                yield number, None
            elif text.strip(_BLANK):
                yield number, text
            else:
                self._blank += 1
        self._lines = number


def lines(pieces: Iterable[bytes]) -> Iterator[Line]:
    """Yield the lines of all these pieces, as `Splitter` does."""
    splitter = Splitter()
    for piece in pieces:
        yield from splitter.feed(piece)
    yield from splitter.finish()
