"""Newline-delimited JSON: lines out of a stream of bytes, in bounded memory."""

from collections.abc import Iterable, Iterator

MEDIA_TYPE = "application/x-ndjson"
MAX_LINE_BYTES = 64 * 1024
_BLANK = b" \t\r"


def lines(pieces: Iterable[bytes]) -> Iterator[bytes | None]:
    """Yield each line without its end; None for one of more than 64 KiB. Blank lines are skipped."""
    begun = bytearray()  # of the line that is being read, two bytes more at most than it may have: CR and one too many
    for piece in pieces:
        first, *others = piece.split(b"\n")
        begun += first[: MAX_LINE_BYTES + 2 - len(begun)]
        if not others:
            continue
        yield from _line(bytes(begun))
        for line in others[:-1]:
            yield from _line(line)
        begun = bytearray(others[-1][: MAX_LINE_BYTES + 2])
    yield from _line(bytes(begun))


def _line(line: bytes) -> Iterator[bytes | None]:
    if len(line) > MAX_LINE_BYTES + 1 or len(line.rstrip(b"\r")) > MAX_LINE_BYTES:
        yield None
    elif line.strip(_BLANK):
        yield line
