"""The application: every route, and what happens around each request."""

import re
import time
import uuid
from typing import Any

import falcon

from api import access_log, campaigns, numbers
from api.access import Users
from api.ahead import BEGAN, Ahead
from api.dashboard import CampaignAnalytics
from api.documentation import Documentation, OpenAPI
from api.errors import add_error_handlers
from api.events import Events
from api.explain import Explain
from api.headers import REQUEST_ID, SECURITY
from api.health import Healthz, Metrics, Readyz
from api.measurements import Measurements
from api.packed import Packed
from api.parts import Parts
from api.reading import Reading, Resource
from api.rejections import Rejections

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
NO_ROUTE = "none"

_EXPOSED = ("ETag", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Lag", "X-Position", REQUEST_ID)


class App(falcon.App[Any, Any]):
    """The routes, and what can be asked ahead of them."""

    ahead: Ahead


def create_app(parts: Parts) -> App:
    """Return the WSGI application made of these parts; paths are taken with and without a slash at the end."""
    middleware: list[Any] = [_Around(parts.measurements), Packed()]
    if parts.reading_origins:
        middleware.append(_ReadingFromElsewhere(parts.reading_origins))
    app = App(middleware=middleware)
    app.req_options.strip_url_path_trailing_slash = True
    add_error_handlers(app)
    shared, dashboard = Reading(parts), "/api/v1/dashboard/campaign-analytics"
    main_answer = CampaignAnalytics(shared)
    app.ahead = main_answer.ahead
    _add(app, dashboard, main_answer)
    _add(app, f"{dashboard}/summary", Resource(shared, numbers.SUMMARY))
    _add(app, f"{dashboard}/timeseries", Resource(shared, numbers.SERIES))
    _add(app, f"{dashboard}/breakdown", Resource(shared, numbers.BREAKDOWN))
    _add(app, f"{dashboard}/{{campaign_id}}/explain", Explain(shared))
    _add(app, "/api/v1/campaigns", Resource(shared, campaigns.CAMPAIGNS))
    _add(app, "/api/v1/events", Events(parts))
    _add(app, "/api/v1/events/rejections", Rejections(parts))
    users, of_user = Users(parts), "/api/v1/access/users/{user}"
    _add(app, of_user, users)
    _add(app, f"{of_user}/workspaces/{{workspace}}", users, suffix="workspace")
    _add(app, f"{of_user}/current-workspace", users, suffix="current")
    _add(app, f"{of_user}/keys", users, suffix="keys")
    _add(app, f"{of_user}/keys/{{prefix}}", users, suffix="key")
    _add(app, f"{of_user}/history", users, suffix="history")
    documentation = Documentation()
    _add(app, "/openapi.json", OpenAPI())
    _add(app, "/docs", documentation)
    _add(app, "/docs/{name}", documentation, suffix="file")
    _add(app, "/healthz", Healthz())
    _add(app, "/readyz", Readyz(parts))
    _add(app, "/metrics", Metrics(parts))
    return app


def _add(app: falcon.App[Any, Any], path: str, resource: object, suffix: str | None = None) -> None:
    """Add a route; what can be got can be asked for its head too."""
    ending = f"_{suffix}" if suffix else ""
    if hasattr(resource, f"on_get{ending}"):
        setattr(resource, f"on_head{ending}", getattr(resource, f"on_get{ending}"))
    app.add_route(path, resource, suffix=suffix)


class _Around:
    """Gives each request an id and each answer its headers, measures it and logs it."""

    def __init__(self, measurements: Measurements) -> None:
        self._measurements = measurements

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        given = request.get_header(REQUEST_ID) or ""
        request_id = given if given and _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
        request.context.request_id = request_id
        request.context.started = request.env.get(BEGAN) or time.perf_counter()
        response.set_headers(SECURITY)
        response.set_header(REQUEST_ID, request_id)

    def process_response(self, request: falcon.Request, response: falcon.Response, _: object, __: object) -> None:
        seconds = time.perf_counter() - request.context.started
        method = request.method if request.method in falcon.HTTP_METHODS else "other"
        route = request.uri_template or NO_ROUTE
        self._measurements.answered(method, route, response.status_code, seconds)
        access_log.log(request, response, route, method, seconds)


class _ReadingFromElsewhere(falcon.CORSMiddleware[Any, Any]):
    """Lets pages of some other origins read, with their users' cookies; never write."""

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
