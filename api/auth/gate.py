"""The gate that every request for a user's data passes, in one order: 401, then 400 of the query, then 403.

The queries return their results sealed, and only the gate opens them.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

import falcon

from api.auth.authentication import Authentication, session_of
from api.errors import AccessDeniedError, BadRequestError
from api.threads import Threads
from domain.api_keys import Scope
from domain.recorder import Database
from projections.queries.caller import ALL, Asked, Caller, Credentials, Sealed, who

T = TypeVar("T")
Q = TypeVar("Q")


class Visit:
    """A request with credentials on its way through the gate."""

    def __init__(self, request: falcon.Request, response: falcon.Response, credentials: Credentials) -> None:
        """Take the request, its response and the credentials."""
        self.request = request
        self.response = response
        self.credentials = credentials
        self.is_counted = False  # as a use of its key, once
        self.until: int | None = None  # when its key expires (ms, UTC), once the key has been compared
        self.session: str | None = None  # the token of a session, once it has been verified again
        self._asked: Asked | None = None

    def about(self, asked: Asked) -> None:
        """Note for the access log which workspaces the request is about."""
        self._asked = asked
        self.request.context.workspace = ALL if asked.every else asked.workspace_id

    @property
    def reason(self) -> str:
        """Return why nothing was read, for the log."""
        return "no_current_workspace" if self._asked == Asked() else "not_linked"


class Gate:
    """Authenticates and authorizes callers."""

    def __init__(
        self,
        authentication: Authentication,
        threads: Threads,
        connection: Callable[[], AbstractContextManager[Database]],
    ) -> None:
        """Take the authentication, the threads beside the event loop, and where they borrow connections."""
        self._authentication = authentication
        self._threads = threads
        self._connection = connection

    async def visit(
        self, request: falcon.Request, response: falcon.Response, parse: Callable[[falcon.Request], Q]
    ) -> tuple[Visit, Q]:
        """Return the visit of a request, on the event loop, and the result of `parse`.

        Raises UnauthenticatedError; and BadRequestError, where `parse` does, only for an authenticated caller.
        """
        credentials = self._authentication.credentials
        waits = self._authentication.may_wait(request)
        shown = await self._threads.run(credentials, request) if waits else credentials(request)
        visit = Visit(request, response, shown)
        try:
            return visit, parse(request)
        except BadRequestError:
            await self._threads.run(self.require_proof, visit)
            raise

    def enter(
        self,
        request: falcon.Request,
        response: falcon.Response,
        parse: Callable[[falcon.Request], Q],
        ask: Callable[[Database, Credentials, Q], Sealed[T]],
        scope: Scope | None = "read",
    ) -> tuple[Q, T]:
        """Do all steps in a thread: return the result of `parse`, and the content that `ask` reads for it.

        Raises what `visit` and `open` raise.
        """
        visit = Visit(request, response, self._authentication.credentials(request))
        try:
            asked = parse(request)
        except BadRequestError:
            self.require_proof(visit)
            raise
        with self._connection() as database:
            sealed = ask(database, visit.credentials, asked)
        return asked, self.open(visit, sealed, scope)

    async def opened(self, visit: Visit, sealed: Sealed[T]) -> T:
        """Do what `open` does; on the event loop, or in a thread where a rate limit is counted in the database."""
        if self._authentication.rate_limit is not None:
            return await self._threads.run(partial(self.open, visit, sealed))
        return self.open(visit, sealed)

    async def again(self, visit: Visit, sealed: Sealed[T]) -> T:
        """Do what `open` does for a caller who was authenticated before, whose session may have expired since.

        Raises UnavailableError too, where the keys for sessions can't be fetched.
        """
        if visit.credentials.prefix is None:
            token = visit.session = visit.session or session_of(visit.request)
            if self._authentication.may_wait_again(token):
                await self._threads.run(self._authentication.verify_again, token)
            else:
                self._authentication.verify_again(token)
        return self.open(visit, sealed)

    def open(self, visit: Visit, sealed: Sealed[T], scope: Scope | None = "read") -> T:
        """Return the content that was read for a caller, if they are authenticated and have the scope.

        Raises UnauthenticatedError, RateLimitedError where the key has made too many requests, and AccessDeniedError
        where the scope is missing or nothing was read.
        """

        def prove(caller: Caller | None) -> None:
            self._prove(visit, caller, scope)

        content = sealed.open(prove)
        if content is None:
            raise AccessDeniedError(visit.reason)
        return content

    def open_copy(self, visit: Visit, sealed: Sealed[T]) -> T | None:
        """Return what a copy of the database has for a caller whom `open` has let in; None where it lets nobody in.

        It decides nothing: a copy may know neither of a new key nor of a link that has gone.
        """
        assert visit.is_counted
        return sealed.open(lambda _: None)

    def require_proof(self, visit: Visit) -> None:
        """Raise UnauthenticatedError where the credentials are invalid; queries the database, in a thread."""
        if visit.credentials.prefix is not None:  # a session has been verified already
            with self._connection() as database:
                sealed = who(database, visit.credentials)
            sealed.open(lambda caller: self._prove(visit, caller, None))

    def count(self, visit: Visit) -> None:
        """Count a request of an authenticated caller, once. Raises RateLimitedError."""
        if not visit.is_counted:
            visit.is_counted = True
            self._authentication.note(visit.request, visit.response, visit.credentials)

    def _prove(self, visit: Visit, caller: Caller | None, scope: Scope | None) -> None:
        known = self._authentication.identify(visit.credentials, caller)
        visit.until = known.expires_at
        self.count(visit)
        if scope is not None and scope not in (["read"] if known.scopes is None else known.scopes):
            lacking = None if known.scopes is None else scope
            raise AccessDeniedError("scope", lacking)
