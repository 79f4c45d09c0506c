"""A worker that may be killed at any time: it sends numbered events and notes how far it is after each call."""

import logging
import sys
from pathlib import Path

from campaign_analytics_client import Client

BATCH = 500
LIMIT_SECONDS = 600.0


def main() -> None:
    """Go on where the note says, and end once all is sent."""
    logging.getLogger("campaign_analytics_client").setLevel(logging.ERROR)  # the server is killed all the time
    url, key, spool, number, progress = sys.argv[1:]
    note = Path(progress)
    done = int(note.read_text()) if note.exists() else 0
    with Client(url, key, 1, spool) as client:
        for first in range(done, int(number), BATCH):
            client.send_many(_event(each) for each in range(first, min(first + BATCH, int(number))))
            written = note.with_suffix(".new")
            written.write_text(str(first + BATCH))
            written.replace(note)  # a kill leaves the old note or the new one
        if not client.flush(LIMIT_SECONDS):
            sys.exit(str(client.stats()))
        if client.stats().dead:
            sys.exit(str(client.dead()[0]))


def _event(number: int) -> dict[str, object]:
    return {
        "id": f"e-{number}",
        "source": "bench",
        "type": "EmailSent",
        "campaign_id": number % 20 + 1,
        "prospect_id": f"prospect-{number // 10}",
        "occurred_at": f"2026-10-{number % 28 + 1:02}T08:09:10Z",
    }


if __name__ == "__main__":
    main()
