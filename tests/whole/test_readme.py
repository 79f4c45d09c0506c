"""Shows that the README is true: its commands are run as they stand, and give what it says."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from projections.metrics import Metric, Once, Shown
from service import embedded
from tests.support.curl import curl
from tests.support.waiting import wait_for

HOUSE = Path(__file__).parents[2]
README = (HOUSE / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```(?:\n```json\n(.*?)```)?", README, re.DOTALL)


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Give the environment of a fresh machine, and see that nothing of what runs in it is left."""
    home = Path(tempfile.mkdtemp(prefix="campaign-analytics-readme-"))
    home.chmod(0o755)
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "JWT_SECRET", "MAKEFLAGS")
    }
    try:
        yield {**inherited, "CAMPAIGN_ANALYTICS_HOME": str(home), "PORT": "0"}
        wait_for(lambda: not embedded.running(home))
    finally:
        shutil.rmtree(home)
        for left in embedded.outside(home).parent.glob(f"{embedded.outside(home).name}*"):
            shutil.rmtree(left)


@pytest.mark.processes
def test_the_readmes_commands_give_what_it_says(environment: dict[str, str]) -> None:
    """`make run`, a workspace linked beside it, each POST and GET to the letter, and Ctrl-C."""
    (two_commands, _), (link, _), *examples = BLOCKS
    assert two_commands.splitlines()[0].split("#")[0].strip() == "make run"
    running = subprocess.Popen(
        ["make", "run"], cwd=HOUSE, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert running.stderr is not None
    try:
        url, key = url_and_key(running.stderr)
        command = link.splitlines()[0].replace(".venv/bin/campaign-analytics", f"{sys.executable} -m service.cli")
        subprocess.run(shlex.split(command), cwd=HOUSE, env=environment, check=True)
        for documented, expected in examples:
            line = documented.replace("http://127.0.0.1:8000", url).replace("$KEY", key)
            status, body = curl(line, HOUSE)
            assert status in (200, 207), body
            if expected:
                assert json.loads(body) == json.loads(expected)
    finally:
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does
        rest = running.stderr.read()
        running.stderr.close()
        running.wait(timeout=10)
    assert "Traceback" not in rest


def url_and_key(stderr: Iterator[str]) -> tuple[str, str]:
    """Return the URL and the API key that the demo prints once it is up."""
    url = next(line.split()[1] for line in stderr if line.startswith("  URL"))
    return url, next(line.split()[2] for line in stderr if line.startswith("  API key"))


def test_the_readme_shows_a_metric_that_could_be_added_as_it_stands() -> None:
    """The row that it gives as an example is one that the table takes."""
    [row] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert eval(row.strip().rstrip(","), {"Metric": Metric, "Once": Once, "Shown": Shown}) == Metric(
        "amount_of_prospects_bounced", Once(("EmailBounced",)), Shown.EXTENDED
    )
