"""Runs the benchmarks that are named, or all of them: `python -m benchmarks append read`."""

import sys

from benchmarks import (
    append,
    baseline,
    bulk,
    client,
    connections,
    cost,
    dashboard,
    forgetting,
    posting,
    projection,
    questions,
    read,
    replay,
)

BENCHMARKS = {
    "append": append.main,
    "baseline": baseline.main,
    "bulk": bulk.main,
    "client": client.main,
    "connections": connections.main,
    "cost": cost.main,
    "dashboard": dashboard.main,
    "forgetting": forgetting.main,
    "posting": posting.main,
    "projection": projection.main,
    "questions": questions.main,
    "read": read.main,
    "replay": replay.main,
}

for name in sys.argv[1:] or BENCHMARKS:
    BENCHMARKS[name]()
