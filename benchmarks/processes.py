"""What the worker processes of a gunicorn have: memory and connections (Linux)."""

from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

_PROC = Path("/proc")
_ESTABLISHED = "01"


def workers(arbiter: int) -> list[int]:
    """Return the ids of the processes that gunicorn's first one has started."""
    found = []
    for process in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            after_name = (process / "stat").read_text().rpartition(")")[2].split()
            if int(after_name[1]) == arbiter:
                found.append(int(process.name))
    return sorted(found)


def memory(worker: int) -> int:
    """Return how many bytes of memory a process has (RSS)."""
    status = (_PROC / str(worker) / "status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def connections(worker: int, url: str) -> int:
    """Return how many connections of clients a process holds at the port of this URL."""
    inodes = _established(urlsplit(url).port or 0)
    held = 0
    for descriptor in (_PROC / str(worker) / "fd").iterdir():
        with suppress(OSError):  # it has just been closed
            held += str(descriptor.readlink()) in inodes
    return held


def _established(port: int) -> set[str]:
    rows = [line.split() for line in (_PROC / "net" / "tcp").read_text().splitlines()[1:]]
    at_port = (row for row in rows if int(row[1].split(":")[1], 16) == port and row[3] == _ESTABLISHED)
    return {f"socket:[{row[9]}]" for row in at_port}
