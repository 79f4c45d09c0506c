"""A platform that publishes its keys, slowly or not at all where a test wants that."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from tests.support.http_servers import Quiet, http_server

Private = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey


class Platform:
    """What is published now, and how often it was asked for."""

    def __init__(self) -> None:
        """Publish nothing yet, at once."""
        self.url = ""
        self.fetches = 0
        self.status = 200
        self.location = ""  # where a redirect leads
        self.body: bytes = b'{"keys": []}'
        self.answers = Event()
        self.answers.set()

    def publish(self, *keys: dict[str, Any]) -> None:
        """Publish these keys instead."""
        self.body = json.dumps({"keys": keys}).encode()


def jwk(private: Private, **fields: Any) -> dict[str, Any]:
    """Return the public half of a key as it is published, with these fields beside it."""
    algorithms: dict[type[Private], Any] = {
        RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    (algorithm,) = (each for kind, each in algorithms.items() if isinstance(private, kind))
    published = algorithm.to_jwk(private.public_key(), as_dict=True)
    published.pop("key_ops", None)
    return {**published, **fields}


@contextmanager
def platform() -> Iterator[Platform]:
    """Run a platform on this machine."""
    made = Platform()

    class Answering(Quiet):
        def do_GET(self) -> None:  # noqa: N802 (the standard library's name)
            """Answer, once the test lets it."""
            made.fetches += 1
            made.answers.wait()
            self.send_response(made.status)
            if made.location:
                self.send_header("Location", made.location)
            self.send_header("Content-Length", str(len(made.body)))
            self.end_headers()
            self.wfile.write(made.body)

    with http_server(Answering) as url:
        made.url = f"{url}/jwks.json"
        try:
            yield made
        finally:
            made.answers.set()
