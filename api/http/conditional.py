"""Conditional reads (RFC 9110): an answer's tag covers all that it depends on; a client that names it gets a 304."""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version

import falcon

_VERSION = version("campaign-analytics")
# An answer is cacheable by that client only, and must be revalidated before each use.
CACHE_CONTROL = "private, no-cache"
VARY = "Cookie, X-API-Key, Accept-Encoding"
VARY_BY_FORM = f"{VARY}, Accept"  # where the answer comes in several forms


def tag(request: falcon.Request, made_of: Iterable[object]) -> str:
    """Return the opaque part of an answer's entity tag, which is weak: answers with the same content have the same tag.

    `made_of` is everything that the answer of this resource depends on, the query in its normal form too.
    """
    return cached_tag.__wrapped__(request.path, tuple(made_of))


@lru_cache(maxsize=1_000)  # an unchanged dashboard has the same one for every caller that asks the same
def cached_tag(path: str, made_of: tuple[object, ...]) -> str:
    """Return the same, of a path and a tuple, cached."""
    text = "\n".join([_VERSION, path.rstrip("/"), *map(repr, made_of)])
    return sha256(text.encode()).hexdigest()[:32]


def unchanged(request: falcon.Request, response: falcon.Response, of: str, vary: str = VARY) -> bool:
    """Set the caching headers; if the client names this tag, make the answer a 304 and return true."""
    response.set_header("Cache-Control", CACHE_CONTROL)
    response.set_header("Vary", vary)
    response.set_header("ETag", f'W/"{of}"')
    if _has_any(request) or has(request, of):
        response.status = falcon.HTTP_304
        return True
    return False


def has(request: falcon.Request, of: str) -> bool:
    """Return whether the caller names this tag, and so has the answer, which then was a success."""
    return not _has_any(request) and any(each == of for each in request.if_none_match or ())


def _has_any(request: falcon.Request) -> bool:
    """Return whether `If-None-Match` is `*`, which any answer matches: not the tag `"*"` (RFC 9110, 13.1.2)."""
    return (request.get_header("If-None-Match") or "").strip() == "*"
