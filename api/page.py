"""The dashboard's files under `/` and `/page/…`; they contain no data, which the page gets from the API."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import falcon

from api.http.conditional import unchanged

FOLDER = Path(__file__).resolve().parent.parent / "page"
_INDEX = "index.html"
_TYPES = {
    ".html": falcon.MEDIA_HTML,
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing but the service's own files, no inline script or style, and no text that becomes markup (W3C, CSP Level 3 and
# Trusted Types).
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors {ancestors}"
)
_CACHED = "no-cache"  # asked for again each time, and mostly unchanged


class Page:
    """`GET /` and `GET /page/{name}`."""

    def __init__(self, embedding_origins: Sequence[str] = (), folder: Path = FOLDER) -> None:
        """Take the origins whose pages may show this one in a frame, and read the files."""
        self._embedded = bool(embedding_origins)
        self._policy = _POLICY.format(ancestors=" ".join(embedding_origins) or "'none'")
        self._files = {each.name: each.read_bytes() for each in folder.iterdir() if each.suffix in _TYPES}
        self._tags = {name: sha256(body).hexdigest()[:32] for name, body in self._files.items()}

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with the page; the query of its address names a view, which only the page reads."""
        self._answer(request, response, _INDEX)

    async def on_get_file(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        """Answer with one of its files."""
        if name not in self._files:
            raise falcon.HTTPNotFound
        self._answer(request, response, name)

    def _answer(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        response.set_header("Content-Security-Policy", self._policy)
        response.set_header("Cross-Origin-Opener-Policy", "same-origin")
        if self._embedded:
            response.delete_header("X-Frame-Options")  # it can't name origins; the policy does
        if not unchanged(request, response, self._tags[name]):
            response.content_type = _TYPES[Path(name).suffix]
            response.data = self._files[name]
        response.set_header("Cache-Control", _CACHED)
