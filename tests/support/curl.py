"""Runs a curl command line as it stands in a document, without needing curl."""

import http.client
import shlex
from pathlib import Path
from urllib.parse import urlsplit


def curl(command: str, base: Path) -> tuple[int, bytes]:
    """Return the status and body that the command gets; `@file` is looked for under `base`.

    Knows what our documents use: -s, -H, -d, --data-binary and one URL. Raises ValueError for anything else.
    """
    words = shlex.split(command)
    if words.pop(0) != "curl":
        raise ValueError(command)
    headers: dict[str, str] = {}
    body: bytes | None = None
    urls = []
    while words:
        word = words.pop(0)
        if word == "-H":
            name, _, value = words.pop(0).partition(":")
            headers[name] = value.strip()
        elif word in ("-d", "--data-binary"):
            text = words.pop(0)
            body = (base / text[1:]).read_bytes() if text.startswith("@") else text.encode()
        elif word.startswith("http://"):
            urls.append(urlsplit(word))
        elif word != "-s":
            raise ValueError(word)
    [url] = urls
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
    try:
        connection.request("GET" if body is None else "POST", f"{url.path}?{url.query}", body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
