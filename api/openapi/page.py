"""The service's own description: `/openapi.json`, and `/docs`, which shows it in a browser without asking elsewhere."""

from functools import cache, lru_cache
from importlib.metadata import distribution
from pathlib import Path

import falcon

from api.answers.answering import encode
from api.http.parameters import no_parameters
from api.openapi.document import document

_PACKAGE = "offapi"  # Swagger UI's own files; the package is not imported, as that would read all of them
_FILES = {"swagger-ui.js": "swagger_bundle.js", "swagger-ui.css": "swagger_style.css"}
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
_START = "start.js"
_CACHED = "public, max-age=3600"
# Nothing but this service's own files; Swagger UI sets styles by itself.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>campaign-analytics</title><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="page"></div><script src="/docs/swagger-ui.js"></script><script src="/docs/start.js"></script></body>
</html>
"""
# A page can't set the session's cookie, so it is not offered; where the browser has one, it is sent anyway.
_SCRIPT = """fetch("/openapi.json").then((answer) => answer.json()).then((spec) => {
  delete spec.components.securitySchemes.session;
  spec.security = spec.security.filter((each) => !("session" in each));
  SwaggerUIBundle({spec, dom_id: "#page", validatorUrl: null});
});
"""


@cache  # composed by the first request, in milliseconds
def _document() -> bytes:
    return encode(document())


class OpenAPI:
    """`GET /openapi.json`."""

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with the document."""
        no_parameters(request)
        response.content_type = falcon.MEDIA_JSON
        response.data = _document()
        response.set_header("Cache-Control", _CACHED)


class Documentation:
    """`GET /docs`, and the files that the page needs."""

    def __init__(self) -> None:
        """Find the files."""
        package = distribution(_PACKAGE)
        self._read = lru_cache(self._read_file)
        self._files = {name: Path(str(package.locate_file(f"{_PACKAGE}/{file}"))) for name, file in _FILES.items()}

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with the page."""
        no_parameters(request)
        response.content_type = falcon.MEDIA_HTML
        response.text = _PAGE
        response.set_header("Content-Security-Policy", _POLICY)
        response.set_header("Cache-Control", _CACHED)

    async def on_get_file(self, _: falcon.Request, response: falcon.Response, name: str) -> None:
        """Answer with one of its files."""
        if name == _START:
            response.text = _SCRIPT
        elif name in self._files:
            response.data = self._read(name)
        else:
            raise falcon.HTTPNotFound
        response.content_type = _TYPES[Path(name).suffix]
        response.set_header("Cache-Control", _CACHED)

    def _read_file(self, name: str) -> bytes:
        return self._files[name].read_bytes()
