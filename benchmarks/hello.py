"""The limit over HTTP: Falcon saying hello on the same gunicorn."""

from typing import Any

import falcon
import falcon.asgi


class Hello:
    """Says hello."""

    async def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Say it."""
        response.media = {"hello": "world"}

    on_post = on_get


class Application:
    """What our gunicorn configuration expects: an ASGI application with something to close."""

    def __init__(self) -> None:
        """Make the application."""
        self._app: falcon.asgi.App[Any, Any] = falcon.asgi.App()
        self._app.add_route("/", Hello())

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI's)
        """Answer one request."""
        await self._app(scope, receive, send)

    def sample(self) -> None:
        """Measure nothing."""

    def drain(self) -> None:
        """Have no streams to end."""

    def close(self) -> None:
        """Hold nothing."""
