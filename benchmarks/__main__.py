"""Runs the benchmarks that are named, or all of them: `python -m benchmarks append read`.

`python -m benchmarks biglog 1000000` runs alone; it takes minutes, and how many events its log has.
"""

import sys

from benchmarks import (
    append,
    baseline,
    biglog,
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

if sys.argv[1:2] == ["biglog"]:
    biglog.main(*map(int, sys.argv[2:]))
else:
    for name in sys.argv[1:] or BENCHMARKS:
        BENCHMARKS[name]()
