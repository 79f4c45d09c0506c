"""How gunicorn runs the web application: `campaign-analytics serve` uses this, and plain `gunicorn` does too.

gunicorn imports it in its first process, and reads the names that are its own; so things happen here on import.
"""

import gc
import os
import sys
from contextlib import ExitStack
from typing import Any

from api import counts, telemetry
from service import logs, settings
from service.processes import lifeline
from service.web import load, worker

SWITCH_SECONDS = 0.0005  # the event loop gets the interpreter back from a busy thread; Python's 5 ms would add up

try:
    _chosen = settings.from_environment(os.environ)
except settings.BadSettingError as error:
    sys.exit(str(error))

_host = f"[{_chosen.host}]" if ":" in _chosen.host else _chosen.host
wsgi_app = "service.web.application:application()"
asgi_loop = "uvloop"
asgi_lifespan = "off"
bind = os.environ.get("CAMPAIGN_ANALYTICS_BIND") or f"{_host}:{_chosen.port}"
workers = _chosen.processes
worker_connections = worker.most_connections()
keepalive = _chosen.keep_alive
worker_class = "service.web.worker.Worker"
logger_class = "service.web.worker.ErrorLog"
forwarder_headers = ""  # no header may move the path
secure_scheme_headers: dict[str, str] = {}
limit_request_line = 8_190
limit_request_fields = 64
limit_request_field_size = 8_190
graceful_timeout = 7  # Ctrl-C ends all within 10 s
control_socket_disable = True
logconfig_dict = logs.configuration(_chosen)


def on_starting(server: Any) -> None:  # noqa: ANN401 (gunicorn's arbiter)
    """Create what the workers share: modules, the memory of their counts, and a database where none is configured."""
    from service.web import application  # noqa: F401, PLC0415 (imported once, so that a worker starts at once)

    server.counts = counts.Counts.inherited(os.environ) or counts.Counts.shared()
    server.slots = {}  # by the age of a worker, which is gunicorn's number of it
    for slot in range(counts.FIRST_WORKER, counts.SLOTS):
        server.counts.fold(slot)  # an earlier gunicorn of this tree has ended with its workers
    os.environ[counts.MEMORY] = str(server.counts.descriptor)
    lifeline.watch()
    server.database = ExitStack()
    server.load = load.Load()
    if _chosen.database_url is None:
        from service import connect  # noqa: PLC0415 (only where it is used)

        os.environ["DATABASE_URL"] = server.database.enter_context(connect.chosen_database(_chosen))


def pre_fork(server: Any, worker: Any) -> None:  # noqa: ANN401 (gunicorn's arbiter and worker)
    """Give the worker a place to count in; where all are taken, it counts for itself."""
    taken = set(server.slots.values())
    slot = next((each for each in range(counts.FIRST_WORKER, counts.SLOTS) if each not in taken), None)
    if slot is not None:
        server.slots[worker.age] = slot
    if worker.age > _chosen.processes:
        ended = server.counts.slot(counts.ENDED)
        ended.add(ended.place(f"{telemetry.RESTARTS}\tworker"), 1)


def post_fork(server: Any, worker: Any) -> None:  # noqa: ANN401 (gunicorn's arbiter and worker)
    """Let the worker see how busy the others are, and where it counts."""
    worker.load = server.load
    os.environ.pop(counts.SLOT, None)
    if worker.age in server.slots:
        os.environ[counts.SLOT] = str(server.slots[worker.age])


def post_worker_init(_: Any) -> None:  # noqa: ANN401 (gunicorn's worker)
    """Look for garbage more rarely, and never among what the start has made: requests leave few cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    sys.setswitchinterval(SWITCH_SECONDS)


def worker_exit(_: Any, worker: Any) -> None:  # noqa: ANN401 (gunicorn's worker)
    """Give the worker's connections back."""
    application = getattr(worker, "asgi", None)  # a worker that could not begin has none
    if application is not None:
        application.close()


def child_exit(server: Any, worker: Any) -> None:  # noqa: ANN401 (gunicorn's arbiter and worker)
    """Keep the counts of an ended worker, without those that only a living worker has."""
    server.load.forget(worker.age)
    slot = server.slots.pop(worker.age, None)
    if slot is not None:
        server.counts.fold(slot)
