"""Compresses answers by gzip where the client accepts that and it pays."""

import gzip
import re

import falcon

from api.threads import Threads

LEAST_BYTES = 1_400  # a smaller answer fits into one packet uncompressed
MOST_BYTES_ON_THE_LOOP = 32 * 1024  # less than half a millisecond
_LEVEL = 1  # half of what level 6 costs, and nearly as small

# RFC 9110, section 12.5.3: an encoding and how much it is liked; none at all is `q=0`.
_TAKEN = re.compile(r"\s*(gzip|x-gzip|\*)\s*(?:;\s*q=([01](?:\.[0-9]{0,3})?)\s*)?", re.IGNORECASE)


class Packed:
    """Compresses answers of resources that read; others may contain secrets beside text that the caller chose."""

    def __init__(self, threads: Threads) -> None:
        """Take the threads that compress large answers."""
        self._threads = threads

    async def process_response(self, request: falcon.Request, response: falcon.Response, _: object, __: object) -> None:
        """Compress an answer."""
        accepted = request.get_header("Accept-Encoding")
        if accepted is None or response.get_header("ETag") is None:
            return
        body = response.data
        if body is not None and len(body) >= LEAST_BYTES and takes_gzip(accepted):
            large = len(body) > MOST_BYTES_ON_THE_LOOP
            response.data = await self._threads.run(_pack, body) if large else _pack(body)
            response.set_header("Content-Encoding", "gzip")


def _pack(body: bytes) -> bytes:
    return gzip.compress(body, _LEVEL, mtime=0)


def takes_gzip(accepted: str) -> bool:
    """Return whether a caller that accepts these encodings takes gzip; an entry for gzip stands over `*`."""
    encodings = filter(None, map(_TAKEN.fullmatch, accepted.split(",")))
    liked = {each[1].lower(): float(each[2] or 1) for each in encodings}
    return liked.get("gzip", liked.get("x-gzip", liked.get("*", 0))) > 0
