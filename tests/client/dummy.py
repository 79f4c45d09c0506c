"""A server that takes posts of events as a test scripts it, and remembers what it took."""

import gzip
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """What the server answers; without a status it closes the connection instead."""

    status: int | None
    body: Any = None
    retry_after: str | None = None


class Post(NamedTuple):
    """What came in."""

    path: str
    key: str | None
    packed: bool
    events: list[dict[str, Any]]


Script = Callable[[list[dict[str, Any]]], Reply]


def taken(events: list[dict[str, Any]]) -> Reply:
    """Accept all."""
    return Reply(200, answer(len(events)))


def answer(accepted: int, *rejected: dict[str, Any], duplicates: int = 0) -> dict[str, Any]:
    """Return the body of an answer that accounts for each event."""
    return {"accepted": accepted, "duplicates": duplicates, "rejected": list(rejected), "position": 1}


class Dummy:
    """The server; `script` decides the next answers, `default` those after it."""

    def __init__(self) -> None:
        """Start without a script: everything is accepted."""
        self.posts: list[Post] = []
        self.script: list[Script | Reply] = []
        self.default: Script | Reply = taken
        self.url = ""
        self._ids: list[str] = []
        self._lock = threading.Lock()

    @property
    def taken(self) -> list[str]:
        """Return the ids of all events that were answered with 200 or 207, in order, refused ones left out."""
        with self._lock:
            return list(self._ids)

    def reply(self, post: Post) -> Reply:
        """Note a post and return what to answer."""
        with self._lock:
            self.posts.append(post)
            step = self.script.pop(0) if self.script else self.default
            reply = step if isinstance(step, Reply) else step(post.events)
            if reply.status in (200, 207, 422):
                refused = {each["index"] for each in reply.body["rejected"]}
                self._ids += [each["id"] for place, each in enumerate(post.events) if place not in refused]
            return reply


@contextmanager
def serving(secure: ssl.SSLContext | None = None) -> Iterator[Dummy]:
    """Run a server for a test, behind TLS where a context for it is given."""
    dummy = Dummy()

    class Posts(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            events = json.loads(gzip.decompress(body) if packed else body)["events"]
            reply = dummy.reply(Post(self.path, self.headers.get("X-API-Key"), packed, events))
            if reply.status is None:
                self.close_connection = True
                return
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body or {}).encode()
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(content)))
            if reply.retry_after is not None:
                self.send_header("Retry-After", reply.retry_after)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Posts)
    server.daemon_threads = True
    if secure is not None:
        server.socket = secure.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    dummy.url = f"{'http' if secure is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    try:
        yield dummy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
