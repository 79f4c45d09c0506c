"""Takes the pictures of the dashboard in the documents: `python -m tests.support.screenshots [FOLDER]`."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from service import database
from service.demo.outreach import activity
from tests.support.browser import launched, reading
from tests.support.databases import new_database
from tests.support.examples import api_key
from tests.support.running import ROOT, Service, serving, users_of
from tests.support.servers import temporary_server

NAMES = ("Sales, Europe", "Sales, America")
PICTURES = {
    "dashboard": ("light", 1_280, 900, ""),
    "dashboard-dark": ("dark", 1_280, 900, "?workspace=ALL"),
    "dashboard-phone": ("light", 390, 844, ""),
    "dashboard-why": ("light", 1_280, 700, "?why=amount_of_replies&why_campaign=101&why_workspace=1"),
    "dashboard-campaign": ("light", 1_280, 1_250, "?campaign=101&part=step,variant"),
}


def main(folder: Path) -> None:
    """Run the service with the demonstration's data, look at it, and write the pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with temporary_server(durable=False) as server, new_database(server) as url:
        database.migrate(url)
        with serving(url) as service:
            key = _seed(service, url)
            for name, (scheme, width, height, query) in PICTURES.items():
                with (
                    launched() as browser,
                    reading(
                        browser, service.url, color_scheme=scheme, viewport={"width": width, "height": height}
                    ) as reader,
                ):
                    reader.come(key, query)
                    reader.page.screenshot(path=folder / f"{name}.png")


def _seed(service: Service, url: str) -> str:
    with users_of(url) as users:
        headers = api_key(users, *(at + 1 for at in range(len(NAMES))), user="anna")
        for workspace, name in enumerate(NAMES, 1):
            users.rename_workspace(workspace, name, "cli:test")
    for workspace in range(1, len(NAMES) + 1):
        position = service.post(workspace, headers, *activity(7, workspace, until=datetime.now(UTC))).json["position"]
        service.dashboard(headers, f"workspace_id={workspace}&min_position={position}")
    return headers["X-API-Key"]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images")
