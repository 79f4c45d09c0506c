"""The application: every route, and what happens around each request."""

import time
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import falcon
import falcon.asgi

from api import request_log
from api.administration.hooks import ConnectedTools
from api.administration.prospects import Prospects
from api.administration.users import Users, Workspaces
from api.answers import analytics, explain
from api.answers.answering import Reading, Resource
from api.answers.changes import ChangesResource
from api.answers.dashboard import CampaignAnalytics
from api.answers.endpoints import DASHBOARD, ENDPOINTS
from api.answers.explain import Explain
from api.answers.me import MeResource
from api.answers.prospects import ProspectLookup
from api.answers.rejections import Rejections
from api.answers.stream import StreamResource
from api.dependencies import Parts
from api.errors import TooLongHeaderError, add_error_handlers
from api.health import Healthz, Metrics, Probe, Readyz
from api.hooks import HookDeliveries
from api.http.bodies import RECEIVE
from api.http.compression import Packed
from api.http.headers import (
    LONGEST,
    REQUEST_ID,
    SECURITY,
    TRACEPARENT,
    TRACESTATE,
    request_id_of,
    traceparent_of,
    with_one_cookie_line,
)
from api.ingest.events import Events
from api.ingest.small_posts import ROUTE as EVENTS
from api.ingest.small_posts import Receive, SmallPosts
from api.openapi.page import Documentation, OpenAPI
from api.page import Page
from api.repeating import Repeating
from api.telemetry import Measurements
from api.threads import Threads

if TYPE_CHECKING:
    from api.tracing import Tracing

NO_ROUTE = "none"

_EXPOSED = ("ETag", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Lag", "X-Position", REQUEST_ID)


class App(falcon.asgi.App[Any, Any]):
    """Falcon's application, which reads nothing of a body by itself; two kinds of requests are answered without it."""

    repeating: Repeating | None = None  # None: each request is answered by itself
    small_posts: SmallPosts | None = None  # None: each post is the resource's

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:  # type: ignore[override]  # noqa: ANN401 (ASGI's)
        """Answer a request; Falcon would wait for the first piece of its body before anything else."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before it is accepted, so a 403
            return
        if scope["type"] == "http":
            scope["headers"] = with_one_cookie_line(scope["headers"])
            scope[RECEIVE] = receive
            receive = _nothing_yet
            if self.repeating is not None and self.repeating.covers(scope):
                await self.repeating.answer(scope, send, partial(super().__call__, scope, receive))
                return
            if self.small_posts is not None and self.small_posts.covers(scope):
                await self.small_posts.answer(scope, scope[RECEIVE], send, partial(self._answer, scope, send))
                return
        await super().__call__(scope, receive, send)

    async def _answer(self, scope: dict[str, Any], send: Any, receive: Receive) -> None:  # noqa: ANN401 (ASGI's)
        """Answer a request whose body is received so."""
        scope[RECEIVE] = receive
        await super().__call__(scope, _nothing_yet, send)


async def _nothing_yet() -> dict[str, object]:
    return {"type": "http.request", "body": b"", "more_body": True}


class _Routed:
    """A resource as Falcon's router takes it: all its responders are coroutines."""


def create_app(parts: Parts) -> App:
    """Return the ASGI application made of these parts; paths are taken with and without a slash at the end."""
    around = _Around(parts.measurements, parts.tracing)
    middleware: list[Any] = [around, Packed(parts.threads)]
    if parts.reading_origins:
        middleware.append(_ReadingFromElsewhere(parts.reading_origins))
    app = App(middleware=middleware)
    app.req_options.strip_url_path_trailing_slash = True
    add_error_handlers(app)
    if parts.tracing is None and parts.authentication.rate_limit is None:  # else each has a span, and each counts
        paths, count = (DASHBOARD, DASHBOARD.rstrip("/")), partial(around.count, "GET")
        app.repeating = Repeating(paths, parts.validation, parts.authentication, count)
        app.small_posts = SmallPosts(parts, partial(around.count, "POST"))
    shared = Reading(parts)
    add = partial(_add, app, parts.threads)
    own = {analytics.CAMPAIGNS: CampaignAnalytics(shared), explain.EXPLAIN: Explain(shared)}
    add(f"{DASHBOARD}changes", ChangesResource(shared))
    for path, endpoint in ENDPOINTS.items():
        add(path.rstrip("/"), own.get(endpoint) or Resource(shared, endpoint))
    add(f"{DASHBOARD}stream", StreamResource(parts))
    add(EVENTS, Events(parts))
    add(f"{EVENTS}/rejections", Rejections(parts))
    add("/api/v1/me", MeResource(parts))
    add("/api/v1/prospects/lookup", ProspectLookup(parts))
    add("/api/v1/prospects/{prospect:path}", Prospects(parts))  # an id may have slashes
    add("/api/v1/hooks/{provider}/{token}", HookDeliveries(parts))
    tools = ConnectedTools(parts)
    add("/api/v1/access/hooks", tools)
    add("/api/v1/access/hooks/{hook}", tools, suffix="hook")
    add("/api/v1/access/workspaces/{workspace}", Workspaces(parts))
    users, of_user = Users(parts), "/api/v1/access/users/{user}"
    add(of_user, users)
    add(f"{of_user}/workspaces/{{workspace}}", users, suffix="workspace")
    add(f"{of_user}/current-workspace", users, suffix="current")
    add(f"{of_user}/keys", users, suffix="keys")
    add(f"{of_user}/keys/{{prefix}}", users, suffix="key")
    add(f"{of_user}/history", users, suffix="history")
    page = Page(parts.embedding_origins)
    add("/", page)
    add("/page/{name}", page, suffix="file")
    documentation = Documentation()
    add("/openapi.json", OpenAPI())
    add("/docs", documentation)
    add("/docs/{name}", documentation, suffix="file")
    probe = Probe(parts)
    add("/healthz", Healthz())
    add("/readyz", Readyz(probe))
    add("/metrics", Metrics(parts, probe))
    return app


def _add(app: App, threads: Threads, path: str, resource: object, suffix: str | None = None) -> None:
    """Add a route. A responder that is no coroutine runs in a thread; a resource with GET has HEAD too."""
    ending, routed = f"_{suffix}" if suffix else "", _Routed()
    for method in ("get", "post", "put", "delete"):
        responder = getattr(resource, f"on_{method}{ending}", None)
        if responder is not None:
            on_loop = iscoroutinefunction(responder)
            setattr(routed, f"on_{method}{ending}", responder if on_loop else threads.responder(responder))
    if hasattr(routed, f"on_get{ending}"):
        setattr(routed, f"on_head{ending}", getattr(routed, f"on_get{ending}"))
    app.add_route(path, routed, suffix=suffix)


class _Around:
    """Gives each request an id and each answer its headers, measures it, logs it and, where asked, traces it."""

    def __init__(self, measurements: Measurements, tracing: "Tracing | None") -> None:
        self._measurements = measurements
        self._tracing = tracing

    async def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        request_id = request_id_of(request.get_header(REQUEST_ID))
        request.context.request_id = request_id
        request.context.started = time.perf_counter()
        request.context.traceparent = traceparent_of(request.get_header(TRACEPARENT))
        request.context.span = None
        if self._tracing is not None and request.path.rstrip("/") not in request_log.QUIET:
            self._tracing.begin(request, request.get_header(TRACESTATE))
        request.context.measurements = self._measurements
        response.set_headers(SECURITY)
        response.set_header(REQUEST_ID, request_id)
        for name, most in LONGEST.items():
            if len(request.get_header(name) or "") > most:
                raise TooLongHeaderError(name, most)

    async def process_response(self, request: falcon.Request, response: falcon.Response, _: object, __: object) -> None:
        context = request.context
        method = request.method if request.method in falcon.HTTP_METHODS else "other"
        route = request.uri_template or NO_ROUTE
        seconds = time.perf_counter() - context.started
        self.count(method, context, context.request_id, route, response.status_code, seconds)
        if self._tracing is not None and context.span is not None:
            self._tracing.end(request, response, method, route)

    def count(  # noqa: PLR0913 (what is counted and logged of a request)
        self, method: str, context: object, request_id: str, route: str, status: int, seconds: float
    ) -> None:
        self._measurements.answered(method, route, status, seconds)
        request_log.log(context, request_id, method, route, status, seconds)


class _ReadingFromElsewhere(falcon.CORSMiddleware[Any, Any]):
    """Allows pages of some other origins to read with their users' cookies, never to write."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        super().__init__(allow_origins=origins, allow_credentials=origins, expose_headers=_EXPOSED)

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        resource: object,
        req_succeeded: bool,  # noqa: FBT001
    ) -> None:
        if req.get_header("Access-Control-Request-Method") in (None, "GET", "HEAD"):
            super().process_response(req, resp, resource, req_succeeded)
        resp.append_header("Vary", "Origin")
        if resp.get_header("Access-Control-Allow-Methods") is not None:
            resp.set_header("Access-Control-Allow-Methods", "GET, HEAD")
