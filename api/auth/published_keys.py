"""The keys that the platform publishes for its sessions (JWKS), fetched so that no request waits for a slow platform.

PyJWT's client alone queues all threads behind one lock while it fetches, asks again with each unknown key, and forgets
its keys when the platform is down; so here it only fetches, and this module does the caching.
"""

import ipaddress
import logging
import time
from collections.abc import Callable
from threading import Lock, Thread
from typing import NamedTuple
from urllib.parse import urlsplit

import jwt

from api.auth.sessions import BadKeyError, Key
from api.auth.tokens import usable
from api.errors import UnavailableError

FRESH_SECONDS = 300.0  # keys that are older are fetched anew
PAUSE_SECONDS = 10.0  # from the beginning of one fetch to the next, whatever became of it
FETCH_SECONDS = 2.0  # the request that begins a fetch waits for it no longer
STALE_SECONDS = 24 * 3_600.0  # known keys stay valid so long while the platform is down

_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)  # what nonsense makes of PyJWT
_PUBLIC = ("RS256", "ES256", "EdDSA")

logger = logging.getLogger(__name__)


class _Known(NamedTuple):
    """The keys as they were published last, each with its id, and when they were fetched."""

    keys: tuple[tuple[str | None, Key], ...]
    fetched_at: float


class PublishedKeys:
    """The keys of a JWKS address; `oct` keys, weak ones and those for anything but signatures are ignored."""

    def __init__(self, url: str, *, algorithm: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the address, the only algorithm to be taken (None: each that fits its key), and a clock in seconds.

        Raises BadKeyError where the address is neither https nor on this machine. Nothing is fetched yet.
        """
        if not _trustworthy(url):
            raise BadKeyError("expected https://…, or http://… on this machine, without a password")
        if algorithm not in (None, *_PUBLIC):
            raise BadKeyError(f"expected one of {', '.join(_PUBLIC)}", algorithm=True)
        self._algorithm = algorithm
        self._clock = clock
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_SECONDS)
        self._known = _Known((), float("-inf"))
        self._lock = Lock()  # never locked during a fetch
        self._fetch: Thread | None = None
        self._begun = float("-inf")
        self.fetches = {"fetched": 0, "failed": 0, "unusable": 0}  # so often each has come of one

    def known(self, key_id: str | None) -> Key | None:
        """Return the key of this id among those that are fresh, as `find` would; None where that may have to fetch."""
        known = self._known
        return _lookup(known, key_id) if self._clock() - known.fetched_at <= FRESH_SECONDS else None

    def find(self, key_id: str | None) -> Key | None:
        """Return the key of this id; without an id the only key there is; None where there is no such key.

        An unknown id, or stale keys, cause the keys to be fetched again, at most once in ten seconds; only the request
        that caused the fetch waits for it. Raises UnavailableError where no keys are known, or
        where this one may be among those that are just being fetched.
        """
        key = self.known(key_id)
        if key is not None:
            return key
        began = self._begin()
        if began is not None:
            began.join(FETCH_SECONDS)
        fetching = self._fetch
        known = self._known  # another request's fetch may have ended meanwhile, too
        key = _lookup(known, key_id)
        if self._clock() - known.fetched_at > STALE_SECONDS or (key is None and fetching and fetching.is_alive()):
            raise UnavailableError("The keys for sessions are not to be had, please try again")
        return key

    @property
    def fetched_at(self) -> float:
        """Return when the known keys were fetched, by the clock that was handed in; minus infinity: there are none."""
        return self._known.fetched_at

    def preload(self) -> None:
        """Fetch the keys for the first time, for as long as a fetch may take; failing is no error yet."""
        began = self._begin()
        if began is not None:
            began.join(FETCH_SECONDS)

    def _begin(self) -> Thread | None:
        """Begin a fetch and return it; None where one is under way, or was within the last ten seconds."""
        with self._lock:
            now = self._clock()
            if (self._fetch is not None and self._fetch.is_alive()) or now - self._begun < PAUSE_SECONDS:
                return None
            self._begun = now
            self._fetch = Thread(target=self._fetch_once, name="published-keys", daemon=True)
            self._fetch.start()
            return self._fetch

    def _fetch_once(self) -> None:
        try:
            published = jwt.PyJWKSet.from_dict(self._client.fetch_data()).keys
        except (jwt.PyJWTError, OSError, *_MALFORMED) as error:
            self.fetches["failed"] += 1
            logger.warning("the keys for sessions can't be fetched: %s", error)
            return
        fetched = [(each.key_id, key) for each in published if (key := self._usable(each)) is not None]
        if not fetched:
            self.fetches["unusable"] += 1
            logger.warning("the keys for sessions can't be used: expected an RSA, P-256 or Ed25519 key for signatures")
            return
        before = self._known.keys  # a key that stays is to stay the same object
        keys = tuple(next((each for each in before if each == new), new) for new in fetched)
        self._known = _Known(keys, self._clock())
        self.fetches["fetched"] += 1

    def _usable(self, published: jwt.PyJWK) -> Key | None:
        key = usable(published.key) if published.public_key_use in (None, "sig") else None
        if key is None or published.algorithm_name != key.algorithm:
            return None
        return key if self._algorithm in (None, key.algorithm) else None


def _lookup(known: _Known, key_id: str | None) -> Key | None:
    if key_id is None:
        return known.keys[0][1] if len(known.keys) == 1 else None
    return next((key for each, key in known.keys if each == key_id), None)


def _trustworthy(url: str) -> bool:
    """Return whether the URL's scheme or host protects the keys against tampering on their way."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.password is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and (host == "localhost" or _is_loopback(host)))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
