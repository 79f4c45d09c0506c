"""Shows that the demonstration shows something, ends without a trace, and goes on with its data when started again."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service import embedded
from tests.support.running import Service, request, running
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

DEMO = ("-m", "service.cli", "demo", "--port", "0")
READY_SECONDS = 40


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Give a directory for the demonstration's data, of which nothing is left in the end."""
    base = Path(tempfile.mkdtemp(prefix="campaign-analytics-"))
    base.chmod(0o755)  # as root, the server runs as somebody else, who must get there
    try:
        yield base
    finally:
        wait_for(lambda: not embedded.running(base))
        shutil.rmtree(base)
        for left in embedded.outside(base).parent.glob(f"{embedded.outside(base).name}*"):
            shutil.rmtree(left)


def curl_line(service: Service) -> str:
    """Wait until the demonstration prints its example request, and return that line."""
    wait_for(lambda: "Ctrl-C stops it" in service.output or service.process.poll() is not None, READY_SECONDS)
    (line,) = re.findall(r"^ +(curl .*)$", service.output, re.MULTILINE)
    assert isinstance(line, str)
    return line


def ask(line: str) -> str:
    """Run the line in a shell as it stands; where there is no curl, do what it says."""
    if shutil.which("curl"):
        return subprocess.run(["sh", "-c", line], check=True, capture_output=True, text=True, timeout=30).stdout
    program, silent, option, header, url = shlex.split(line)
    assert (program, silent, option) == ("curl", "-s", "-H")
    name, _, value = header.partition(": ")
    root, path = re.fullmatch(r"(http://[^/]+)(/.*)", url).groups()  # type: ignore[union-attr]
    return request(root, "GET", path, {name: value}).body.decode()


def totals(answer: str) -> dict[int, dict[str, int]]:
    """Return the sums of the counts of each workspace's campaigns."""
    by_workspace: dict[int, dict[str, int]] = {}
    campaigns: list[dict[str, Any]] = json.loads(answer)["campaigns"]
    for campaign in campaigns:
        sums = by_workspace.setdefault(campaign["workspace_id"], {})
        for name, value in campaign["analytics"].items():
            if name.startswith("amount_of_"):
                sums[name] = sums.get(name, 0) + value
    return by_workspace


def stopped_by_ctrl_c(service: Service, home: Path) -> None:
    """Press Ctrl-C, and assert that all of it ends, the database too."""
    assert embedded.running(home)
    service.stop(signal.SIGINT)
    assert not embedded.running(home)


def test_the_demonstration_shows_two_busy_workspaces_and_goes_on_with_them(home: Path) -> None:
    """The line that it prints works as it stands; the second time nothing is seeded, numbers and key are the same."""
    with running(DEMO, CAMPAIGN_ANALYTICS_HOME=str(home)) as service:
        line = curl_line(service)
        assert f"  URL      {service.url}\n" in service.output
        (key,) = re.findall(r"^  API key  (\S+)$", service.output, re.MULTILINE)
        assert f"'X-API-Key: {key}'" in line
        assert f"\n  {service.url}/#key={key}\n" in service.output, "a link to the dashboard, signed in"
        first = totals(ask(line))
        stopped_by_ctrl_c(service, home)
    assert sorted(first) == [1, 2]
    assert all(value > 0 for sums in first.values() for value in sums.values()), first
    with running(DEMO, CAMPAIGN_ANALYTICS_HOME=str(home)) as service:
        line = curl_line(service)
        assert f"'X-API-Key: {key}'" in line, "who has copied it once can go on with it"
        assert totals(ask(line)) == first
        assert f"{service.url}/docs" in service.output
        assert f"To begin anew, stop it and delete {home}" in service.output
        stopped_by_ctrl_c(service, home)
    file = home / "demo-key"
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("ca_0.made-up\n")
    with running(DEMO, CAMPAIGN_ANALYTICS_HOME=str(home)) as service:
        line = curl_line(service)
        assert totals(ask(line)) == first
        assert key not in line
        old = request(service.url, "GET", "/api/v1/dashboard/campaign-analytics/", {"X-API-Key": key})
        assert old.status == 401, "a key that nobody knows any more must not stay good"
        stopped_by_ctrl_c(service, home)


def test_ctrl_c_ends_the_demonstration_also_while_it_starts(home: Path) -> None:
    """As soon as there is a process to end, and while the demonstration waits for it to answer."""
    with running(DEMO, CAMPAIGN_ANALYTICS_HOME=str(home)) as service:
        wait_for(lambda: service.arbiter() is not None)
        stopped_by_ctrl_c(service, home)
