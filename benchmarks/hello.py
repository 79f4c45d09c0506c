"""The limit over HTTP: Falcon saying hello on the same gunicorn."""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import falcon


class Hello:
    """Says hello."""

    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Say it."""
        response.media = {"hello": "world"}

    on_post = on_get


class Application:
    """What our gunicorn configuration expects: a WSGI application with something to close."""

    def __init__(self) -> None:
        """Make the application."""
        self._app = falcon.App()
        self._app.add_route("/", Hello())

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        return self._app(environ, start_response)

    def close(self) -> None:
        """Hold nothing."""
