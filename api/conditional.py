"""Conditional reads (RFC 9110): what an answer is made of gives its tag, and who has that already gets no body."""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version

import falcon

_VERSION = version("campaign-analytics")
# Everybody's answer is their own; it may be kept by who asked, and asked about before each use.
CACHE_CONTROL = "private, no-cache"
VARY = "Cookie, X-API-Key, Accept-Encoding"
VARY_BY_FORM = f"{VARY}, Accept"  # where the answer comes in several forms


def tag(request: falcon.Request, made_of: Iterable[object]) -> str:
    """Return the entity tag of an answer to this request, weak: alike are answers that say the same."""
    return kept_tag.__wrapped__(request.path, request.query_string, made_of)


@lru_cache(maxsize=1_000)  # an unchanged dashboard has the same one for everybody who asks the same
def kept_tag(path: str, query: str, made_of: Iterable[object]) -> str:
    """Return the same, of a path and a query and a tuple, which is kept."""
    text = "\n".join([_VERSION, path.rstrip("/"), query, *map(repr, made_of)])
    return sha256(text.encode()).hexdigest()[:32]


def unchanged(request: falcon.Request, response: falcon.Response, of: str, vary: str = VARY) -> bool:
    """Say how the answer may be kept; where the caller has it already, make it a 304 and return true."""
    response.set_header("Cache-Control", CACHE_CONTROL)
    response.set_header("Vary", vary)
    response.set_header("ETag", f'W/"{of}"')
    if has(request, of):
        response.status = falcon.HTTP_304
        return True
    return False


def has(request: falcon.Request, of: str) -> bool:
    """Return whether the caller has the answer with this tag already."""
    return any(each in ("*", of) for each in request.if_none_match or ())
