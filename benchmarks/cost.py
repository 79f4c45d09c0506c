"""What a request costs of CPU, in the server and in PostgreSQL (Linux).

Unlike a rate, that depends little on what else runs on the machine; what there is shows in the caches.
"""

from collections.abc import Callable
from statistics import median

from psycopg import Connection

from benchmarks import posting, processes, read, web

ROUNDS = 7
WORKSPACES = (1, 100)


def main() -> None:
    """Measure reads, beside those of the commit that BASELINE names and hello world, and single posts likewise."""
    if not web.can_be_measured("costs"):
        return
    with (
        read.twenty_campaigns() as (environment, callers, in_turn),
        web.running(environment, web.HELLO) as hello,
        web.running(environment) as service,
        web.baseline(environment) as baseline,
    ):
        served = {"service": service} | ({"baseline": baseline} if baseline else {})
        requests: dict[str, tuple[int, Callable[[], float]]] = {
            "hello world": (hello[1], lambda: read.requests(f"{hello[0]}/", web.ANYBODY))
        }
        for name, (url, arbiter) in served.items():
            url += read.PATH  # noqa: PLW2901 (of the read)
            for who, header in callers.items():
                unchanged = {**header, "If-None-Match": "*"}
                requests[f"read, {who}, {name}"] = (arbiter, lambda u=url, h=header: read.requests(u, h))  # type: ignore[misc]
                requests[f"304, {who}, {name}"] = (arbiter, lambda u=url, h=unchanged: read.requests(u, h))  # type: ignore[misc]
            requests[f"read, {read.KEYS} keys in turn, {name}"] = (
                arbiter,
                lambda u=url: web.load(u, {}, connections=read.CONNECTIONS, seconds=read.SECONDS, script=in_turn),  # type: ignore[misc]
            )
        _report(environment["DATABASE_URL"], requests)
    with (
        web.service(max(WORKSPACES)) as (environment, _, headers),
        web.running(environment, web.HELLO) as hello,
        web.running(environment) as service,
        web.baseline(environment) as baseline,
    ):
        served = {"service": service} | ({"baseline": baseline} if baseline else {})
        requests = {"empty post to hello world": (hello[1], lambda: _post(hello[0], headers, posting.EMPTY))}
        for name, (url, arbiter) in served.items():
            for number in WORKSPACES:
                requests[f"single posts to {number} workspaces, {name}"] = (
                    arbiter,
                    lambda u=url, n=number: posting.post(u, headers, posting.SINGLE, seconds=1, workspaces=n),  # type: ignore[misc]
                )
        _report(environment["DATABASE_URL"], requests)


def _post(url: str, headers: dict[str, str], script: str) -> float:
    return web.load(url, headers, connections=posting.CONNECTIONS, seconds=1, script=script)


def _report(database_url: str, requests: dict[str, tuple[int, Callable[[], float]]]) -> None:
    """Take each in turn, and print the medians of microseconds of CPU in the server and in PostgreSQL."""
    measured: dict[str, list[tuple[float, float]]] = {what: [] for what in requests}
    with Connection.connect(database_url) as connection:
        postmaster = processes.parent(connection.info.backend_pid)
        for _ in range(ROUNDS):
            for what, (arbiter, ask) in requests.items():
                servers, backends = processes.workers(arbiter), processes.workers(postmaster)
                before = [processes.cpu(servers), processes.cpu(backends)]
                number = ask()  # a second, so many of them
                after = [processes.cpu(servers), processes.cpu(backends)]
                server, postgresql = ((b - a) * 1e6 / number for a, b in zip(before, after, strict=True))
                measured[what].append((server, postgresql))
    for what, each in measured.items():
        server, postgresql = (median(column) for column in zip(*each, strict=True))
        print(f"{what:<50} {server:>6,.0f} us in the server, {postgresql:>4,.0f} us in PostgreSQL", flush=True)
