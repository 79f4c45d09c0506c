"""A server that takes posts of events and does nothing with them: `python -m benchmarks.taking` prints its URL."""

import gzip
import json
import socket


def main() -> None:
    """Serve one connection after the other until the process is ended."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as stream:
                while stream.readline():
                    length, packed = 0, False
                    while line := stream.readline().strip():
                        name, _, value = line.lower().partition(b": ")
                        length = int(value) if name == b"content-length" else length
                        packed = packed or name == b"content-encoding"
                    body = stream.read(length)
                    events = (gzip.decompress(body) if packed else body).count(b'"occurred_at"')
                    content = json.dumps({"accepted": events, "duplicates": 0, "rejected": [], "position": 1}).encode()
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)


if __name__ == "__main__":
    main()
