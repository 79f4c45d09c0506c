"""Asks the database for requests that have come together in one round trip, before each is answered by itself.

What the database says of a request goes along with it, and is used once, for that request alone: its statement has
started after the request came, just as one that the request asks by itself.
"""

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple
from wsgiref.types import WSGIEnvironment

import falcon
import psycopg

from api import numbers
from api.errors import DATABASE_AWAY, BadRequestError, UnauthenticatedError, UnavailableError
from api.kept import Kept
from api.parts import Parts
from api.published_keys import PublishedKeys
from api.question import Question
from projections import campaign_analytics
from projections.access import Asked, Credentials
from projections.campaign_analytics import Answer, Held

BEGAN = "campaign_analytics.began"  # in a request's environment: when the work on it began
_SAID = "campaign_analytics.said"
# Reads of the main answer, without a body or anything else that has to be waited for.
_READ = re.compile(
    rb"(?:GET|HEAD) /api/v1/dashboard/campaign-analytics/?(?:\?workspace_id=(?:[1-9][0-9]{0,17}|ALL))? HTTP/1\.1\r\n"
)
_MORE = re.compile(rb"\n(?:content-length|transfer-encoding|expect|upgrade)[ \t]*:", re.IGNORECASE)
_COOKIE = re.compile(rb"\ncookie[ \t]*:", re.IGNORECASE)
_KEY = re.compile(rb"\nx-api-key[ \t]*:", re.IGNORECASE)
MOST_WORKSPACES = 100  # that a request may be about, so that no other waits long for it
_OPTIONS = falcon.RequestOptions()  # made anew for each request, they would cost as much as the rest of it


class Said(NamedTuple):
    """What the database said of a request that asked this, and what was not read for it since it is kept."""

    credentials: Credentials
    asked: Asked
    held: dict[Held, bytes]
    answer: Answer | psycopg.Error  # or why there is none


class Ahead:
    """Which requests can be asked ahead, and asking them."""

    def __init__(self, parts: Parts, kept: Kept) -> None:
        """Take the parts, and what is kept of the main answers."""
        self._parts = parts
        self._kept = kept
        sessions = parts.authentication.sessions
        self._keys_may_be_fetched = sessions is not None and isinstance(sessions.keys, PublishedKeys)
        self._uses_are_counted = parts.authentication.rate_limit is not None

    def takes(self, head: bytes | bytearray) -> bool:
        """Return whether the request that begins so can be asked ahead; a body is never part of one."""
        if _READ.match(head) is None or _MORE.search(head) is not None:
            return False
        # Others would wait for the platform's keys, or for the limit to be counted, too.
        return not (
            (self._keys_may_be_fetched and _COOKIE.search(head)) or (self._uses_are_counted and _KEY.search(head))
        )

    def ask(self, environments: Sequence[WSGIEnvironment]) -> list[bool]:
        """Ask for these requests, and let what the database says go along with each; return which were asked.

        Whose request is not in order is left to find out for themselves, and so is who asks for much.
        """
        began = time.perf_counter()
        asking = []
        asked = [False] * len(environments)
        for place, environment in enumerate(environments):
            environment[BEGAN] = began
            with suppress(UnauthenticatedError, BadRequestError, UnavailableError):
                request = falcon.Request(environment, options=_OPTIONS)
                credentials = self._parts.authentication.credentials(request)
                question = numbers.CAMPAIGNS.parse(request)
                known = self._kept.known_to(credentials, question.asked)
                held = self._kept.held(known)
                much = question.asked.every and not 0 < len(held) == len(known) <= MOST_WORKSPACES
                if is_plain(question) and not much:
                    asking.append((environment, credentials, question.asked, held))
                    asked[place] = True
        if not asking:
            return asked
        answers: Sequence[Answer | psycopg.Error]
        try:
            with self._parts.connection() as database:
                answers = campaign_analytics.read_each(database, [each[1:] for each in asking])
        except DATABASE_AWAY as error:
            answers = [error] * len(asking)
        except psycopg.Error:
            return [False] * len(environments)  # so that none fails for another, each asks by itself
        for (environment, credentials, wanted, held), answer in zip(asking, answers, strict=True):
            environment[_SAID] = Said(credentials, wanted, held, answer)
        return asked


def said(request: falcon.Request, credentials: Credentials, asked: Asked) -> tuple[Answer, dict[Held, bytes]] | None:
    """Return what the database has said of this request, once; None where it is still to be asked.

    Raises psycopg's errors where the database was away.
    """
    found: Said | None = request.env.pop(_SAID, None)
    if found is None or (found.credentials, found.asked) != (credentials, asked):
        return None
    if isinstance(found.answer, psycopg.Error):
        raise found.answer
    return found.answer, found.held


def is_plain(question: Question) -> bool:
    """Return whether a question is answered by the one statement: it has no filters, period or other form."""
    return question == Question(question.asked, question.min_position, own=question.own)
