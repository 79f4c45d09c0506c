"""What the worker processes of a gunicorn have and use: memory, connections and CPU (Linux)."""

from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

_PROC = Path("/proc")
_ESTABLISHED = "01"


def workers(arbiter: int) -> list[int]:
    """Return the ids of the processes that gunicorn's (or PostgreSQL's) first one has started."""
    pids = []
    for process in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if parent(int(process.name)) == arbiter:
                pids.append(int(process.name))
    return sorted(pids)


def parent(process: int) -> int:
    """Return the id of the process that has started this one."""
    return int((_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()[1])


def cpu(of: list[int]) -> float:
    """Return how many seconds of CPU the threads of these processes have used, as the scheduler counts them."""
    used = 0
    for process in of:
        with suppress(OSError):  # it has just ended
            used += sum(
                int((each / "schedstat").read_text().split()[0]) for each in (_PROC / str(process) / "task").iterdir()
            )
    return used / 1e9


def memory(worker: int) -> int:
    """Return how many bytes of memory a process has (RSS)."""
    status = (_PROC / str(worker) / "status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def connections(worker: int, url: str) -> int:
    """Return how many connections of clients a process holds at the port of this URL."""
    inodes = _established(urlsplit(url).port or 0)
    count = 0
    for descriptor in (_PROC / str(worker) / "fd").iterdir():
        with suppress(OSError):  # it has just been closed
            count += str(descriptor.readlink()) in inodes
    return count


def _established(port: int) -> set[str]:
    rows = [line.split() for line in (_PROC / "net" / "tcp").read_text().splitlines()[1:]]
    at_port = (row for row in rows if int(row[1].split(":")[1], 16) == port and row[3] == _ESTABLISHED)
    return {f"socket:[{row[9]}]" for row in at_port}
