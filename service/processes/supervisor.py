"""The process tree of `serve` and `demo`: gunicorn and the projector, started again when they die, ended together."""

import errno
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from types import FrameType

from api import counts, telemetry
from api.counts import Counts
from service.processes import lifeline
from service.settings import BadSettingError

MAX_DEATHS = 5
DEATHS_WITHIN_SECONDS = 60.0
DRAIN_SECONDS = 7.5  # Ctrl-C ends all within 10 s
_LOOK_SECONDS = 0.1
CONFIGURATION = "python:service.web.gunicorn_settings"

logger = logging.getLogger(__name__)


class PortInUseError(Exception):
    """The address to listen at is in use or not allowed; the text names the port."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at this host and port.

    Raises BadSettingError where this machine has no such address, and PortInUseError where it can't be listened at.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.getaddrinfo(host, port, family)
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            msg = f"HOST: {host} is no address of this machine: {error.strerror or error}"
            raise BadSettingError(msg) from error
        msg = f"port {port} of {host} can't be listened at: {error.strerror or error}"
        raise PortInUseError(msg) from error


def url_of(listener: socket.socket) -> str:
    """Return the URL at which a listening socket is reached from here."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (a comparison; nothing is bound)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Supervisor:
    """Runs the children until a signal stops it or they die too often."""

    def __init__(self, listener: socket.socket, environment: dict[str, str]) -> None:
        """Take the socket that gunicorn serves and the environment of the children."""
        self._listener = listener
        self._stop = Event()
        self._failed = False
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self._lifeline, self._write_end = os.pipe()
        self._counts = Counts.shared()
        self._slot = self._counts.slot(counts.SUPERVISOR)
        self._slot.set(self._slot.place(telemetry.PROCESS), os.getpid())
        self._environment = {
            **environment,
            counts.MEMORY: str(self._counts.descriptor),
            lifeline.VARIABLE: str(self._lifeline),
            "CAMPAIGN_ANALYTICS_BIND": f"fd://{listener.fileno()}",
        }
        self._commands = {
            "web": [sys.executable, "-m", "gunicorn", "--config", CONFIGURATION],
            "projector": [sys.executable, "-m", "service.cli", "project"],
        }

    def run(self, once_started: Callable[[Event], None]) -> int:
        """Run until SIGTERM or Ctrl-C, drain, and return the exit code.

        `once_started` runs beside the children, takes an event that is set when it must end, and ends all of them if
        it fails.
        """
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            for name in self._commands:
                self._start(name)
            beside = Thread(target=self._beside, args=(once_started,), name="once-started")
            beside.start()
            while not self._stop.wait(_LOOK_SECONDS):
                self._revive()
            self._drain()
        finally:
            for child in self._children.values():
                _kill(child)
            self._listener.close()  # pending requests fail, also those of `once_started`
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self._write_end)
            os.close(self._lifeline)
            os.close(self._counts.descriptor)
        beside.join()
        return 1 if self._failed else 0

    def _on_signal(self, _: int, __: FrameType | None) -> None:
        self._stop.set()

    def _beside(self, once_started: Callable[[Event], None]) -> None:
        try:
            once_started(self._stop)
        except Exception:
            if not self._stop.is_set():  # else it was interrupted
                logger.exception("could not be started")
                self._failed = True
                self._stop.set()

    def _start(self, name: str) -> None:
        # A session of its own: Ctrl-C reaches only this process, which then lets the children drain.
        self._children[name] = subprocess.Popen(
            self._commands[name],
            env=self._environment,
            pass_fds=(self._lifeline, self._listener.fileno(), self._counts.descriptor),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )

    def _revive(self) -> None:
        for name, child in list(self._children.items()):
            if child.poll() is None:
                continue
            _kill(child)  # its own children, if it left any
            self._deaths.append(time.monotonic())
            logger.error("%s ended with code %s", name, child.returncode)
            if len(self._deaths) == MAX_DEATHS and self._deaths[-1] - self._deaths[0] < DEATHS_WITHIN_SECONDS:
                logger.error("children died %s times within a minute, giving up", MAX_DEATHS)
                self._failed = True
                self._stop.set()
                return
            self._start(name)
            self._slot.add(self._slot.place(f"{telemetry.RESTARTS}\t{name}"), 1)
            logger.warning("%s is started again", name)

    def _drain(self) -> None:
        until = time.monotonic() + DRAIN_SECONDS
        for child in self._children.values():
            child.terminate()
        for name, child in self._children.items():
            try:
                child.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning("%s did not drain in time", name)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill the remaining processes of a child and of its children."""
    with suppress(ProcessLookupError):  # nothing may be left
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
