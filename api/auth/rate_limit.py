"""The rate limit of an API key, in requests a minute: one count over all processes and nodes; optional.

The headers are those of the IETF's draft-ietf-httpapi-ratelimit-headers-10.
"""

import falcon
from psycopg.sql import SQL

from api.errors import RateLimitedError
from domain.recorder import Pool

WINDOW_SECONDS = 60  # a window begins with a key's first request after the last one has ended

# One statement, so one round trip; the table is not logged, so its commit waits for no disk.
_COUNT = SQL("""
INSERT INTO api_key_window AS w (prefix, ends_at, requests)
VALUES (%(prefix)s, clock_timestamp() + %(seconds)s * interval '1 s', 1)
ON CONFLICT (prefix) DO UPDATE SET
    requests = CASE WHEN w.ends_at > excluded.ends_at - %(seconds)s * interval '1 s' THEN w.requests ELSE 0 END + 1,
    ends_at = CASE WHEN w.ends_at > excluded.ends_at - %(seconds)s * interval '1 s' THEN w.ends_at
        ELSE excluded.ends_at END
RETURNING requests, ceil(extract(epoch FROM ends_at - clock_timestamp()))::integer
""")


class RateLimit:
    """The limit of each key."""

    def __init__(self, pool: Pool, requests: int) -> None:
        """Take how many requests a minute a key may make."""
        self._pool = pool
        self._requests = requests
        self._policy = f'"key";q={requests};w={WINDOW_SECONDS}'

    def count(self, prefix: str, response: falcon.Response) -> None:
        """Count a request of a key and set the headers; raise RateLimitedError where the limit is reached."""
        with self._pool.connection() as database:
            row = database.execute(_COUNT, {"prefix": prefix, "seconds": WINDOW_SECONDS}).fetchone()
        assert row is not None  # the statement always answers with a row
        requests, seconds = int(row[0]), max(1, int(row[1]))
        response.set_header("RateLimit-Policy", self._policy)
        response.set_header("RateLimit", f'"key";r={max(0, self._requests - requests)};t={seconds}')
        if requests > self._requests:
            raise RateLimitedError(seconds)
