"""The application as the worker calls it: where the body of a request has come before, it comes in one message."""

from collections.abc import Awaitable, Callable
from typing import Any

from api.app import App
from api.http.bodies import WHOLE

Message = dict[str, Any]


class Served:
    """An ASGI application around ours."""

    def __init__(self, app: App) -> None:
        """Take the application."""
        self.app = app

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Any]
    ) -> None:
        """Answer a request whose body has come, or whose client has gone."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        body, message = list[bytes](), await receive()
        while message["type"] == "http.request":
            body.append(message.get("body", b""))
            if not message.get("more_body"):
                scope[WHOLE] = True
                message = {"type": "http.request", "body": b"".join(body), "more_body": False}
                break
            message = await receive()
        messages = [message]

        async def receiving() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, receiving, send)
