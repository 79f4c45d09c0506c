"""Runs the benchmarks that are named, or all of them: `python -m benchmarks append read`."""

import sys

from benchmarks import append, bulk, posting, projection, read

BENCHMARKS = {
    "append": append.main,
    "bulk": bulk.main,
    "posting": posting.main,
    "projection": projection.main,
    "read": read.main,
}

for name in sys.argv[1:] or BENCHMARKS:
    BENCHMARKS[name]()
