"""Shows that what is handed out for running the service names only what the service has."""

import argparse
import configparser
import json
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import chain
from typing import Any

import promql_parser
import pytest
import yaml
from falcon import testing
from prometheus_client.parser import text_string_to_metric_families

from api import exposition
from api.counts import PROJECTOR, Counts
from api.dependencies import APPENDS
from api.health import ANSWER_SECONDS
from api.telemetry import KEYS_FETCHED_AT, LOOKED_AT, PROCESS, QUEUE, RESTARTS, Measurements
from projections.building.status import Lag
from service import settings
from service.commands import parser
from service.processes.supervisor import CONFIGURATION, DRAIN_SECONDS
from service.web import worker
from tests.support.examples import JWT_SECRET
from tests.support.running import ROOT

DEPLOY = ROOT / "deploy"
PORT = 8000  # that the image listens at
METRICS_PORT = 9464  # that projectors in containers listen at
OF_THE_SYSTEM = {"TMPDIR"}  # Python's own
API_ALONE = ["gunicorn", "--config", CONFIGURATION]
PROXIES = [DEPLOY / "nginx" / "campaign-analytics.conf", DEPLOY / "caddy" / "Caddyfile"]
Labels = dict[str, set[str]]  # the names of labels, by the name of a sample


class NotedEnvironment(dict[str, str]):
    """An environment that notes which variables are asked for."""

    def __init__(self, **variables: str) -> None:
        """Take those that are there."""
        super().__init__(variables)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """Return one, and note it."""
        self.names.add(name)
        return super().get(name, default)


@pytest.fixture(scope="module")
def variables() -> set[str]:
    """Give the names of all variables that the settings look at."""
    environment = NotedEnvironment(JWT_SECRET=JWT_SECRET)
    settings.from_environment(environment)
    return environment.names | OF_THE_SYSTEM


@pytest.fixture(scope="module")
def samples() -> Labels:
    """Give what /metrics can show: each sample with its labels."""
    counts = Counts()
    projector = counts.slot(PROJECTOR)
    projector.set(projector.place(PROCESS), 1)
    projector.set(projector.place(LOOKED_AT), 1)
    projector.add(projector.place(f"{RESTARTS}\tprojector"), 1)
    measurements = Measurements(counts, 3)
    measurements.answered("GET", "/healthz", 200, 0.1)
    measurements.hooked("lemlist", {"accepted": 1})
    measurements.lag_seen(Lag(*[0] * len(Lag._fields)))
    measurements.state_seen(0, writable=True)
    measurements.sizes_seen({"journey": 1})
    measurements.sampled({f"{QUEUE}\tappend": 1, KEYS_FETCHED_AT: 1})
    text = exposition.text(counts, is_up=True).decode()
    labels_of: Labels = {}
    for sample in chain.from_iterable(family.samples for family in text_string_to_metric_families(text)):
        labels_of.setdefault(sample.name, set()).update(sample.labels)
    return {**labels_of, "up": {"job"}}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Give compose.yaml."""
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text()))


def resources() -> list[dict[str, Any]]:
    """Return everything that is handed to Kubernetes."""
    return [each for file in (DEPLOY / "kubernetes").iterdir() for each in yaml.safe_load_all(file.read_text())]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """Return Kubernetes' resources of a kind by their name."""
    return {each["metadata"]["name"]: each for each in resources() if each["kind"] == kind}


def pods() -> list[dict[str, Any]]:
    """Return the specifications of all pods."""
    return [each["spec"]["template"]["spec"] for each in resources() if each["kind"] in ("Deployment", "Job")]


def api_container() -> dict[str, Any]:
    """Return the API's container as Kubernetes takes it."""
    (container,) = of_kind("Deployment")["campaign-analytics-api"]["spec"]["template"]["spec"]["containers"]
    return dict(container)


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def board() -> list[dict[str, Any]]:
    """Return the board's panels."""
    panels = json.loads((DEPLOY / "grafana" / "boards" / "campaign-analytics.json").read_text())["panels"]
    return [panel for panel in panels if panel["type"] != "row"]


def expressions() -> list[str]:
    """Return what is asked of Prometheus."""
    return [rule["expr"] for rule in rules()] + [target["expr"] for panel in board() for target in panel["targets"]]


def unit(name: str) -> configparser.SectionProxy:
    """Return what a systemd unit runs, and how."""
    read = configparser.ConfigParser(interpolation=None, strict=True, delimiters=("=",))
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read(DEPLOY / "systemd" / name)
    return read["Service"]


def is_known(arguments: list[str]) -> bool:
    """Return whether the program takes these arguments."""
    try:
        parser.parser_of().parse_args(arguments)
    except (SystemExit, argparse.ArgumentError):
        return False
    return True


def selectors(node: Any) -> Iterator[promql_parser.VectorSelector]:
    """Give the selectors of an expression as Prometheus reads it."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    elif isinstance(node, promql_parser.MatrixSelector):
        yield node.vector_selector
    for name in ("expr", "lhs", "rhs"):
        if hasattr(node, name):
            yield from selectors(getattr(node, name))
    for argument in getattr(node, "args", ()):
        yield from selectors(argument)


@pytest.mark.parametrize("expression", expressions())
def test_expressions_use_only_metrics_and_labels_that_exist(expression: str, samples: Labels) -> None:
    """It is PromQL, and /metrics has each sample with each label that it names."""
    queried = list(selectors(promql_parser.parse(expression)))
    assert queried
    assert {each.name for each in queried} == {*re.findall(r"campaign_analytics_\w+|\bup\b", expression)}
    for selector in queried:
        assert selector.name in samples
        assert {each.name for each in selector.matchers.matchers} <= samples[selector.name]
    available = set.union({"instance"}, *(samples[each.name] for each in queried if each.name))
    for names in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set(names.split(", ")) <= available


def test_routes_that_are_asked_for_exist(client: testing.TestClient) -> None:
    """As in /metrics."""
    routes = set(re.findall(r'route!?="([^"]+)"', " ".join(expressions())))
    assert routes == {"/api/v1/dashboard/campaign-analytics", "/readyz"}
    for route in routes:
        assert client.simulate_get(route).status_code in (200, 401)
    exposed = client.simulate_get("/metrics").text
    assert all(f'route="{route}"' in exposed for route in routes)


def test_each_alert_has_its_part_of_the_runbook() -> None:
    """And the runbook names the alerts of each part."""
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    parts = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", runbook, re.MULTILINE))
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-"): text for title, text in parts.items()}
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert file == "docs/runbook.md"
        assert f"`{rule['alert']}`" in anchors[anchor]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
    named = re.findall(r"\*\*Alert\*\*: ([^.]+)", runbook)
    assert set(re.findall(r"`(\w+)`", " ".join(named))) == {rule["alert"] for rule in rules()}


def test_what_the_runbook_names_exists(samples: Labels, variables: set[str]) -> None:
    """Its commands are the program's, its metrics those of /metrics."""
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    for name in re.findall(r"campaign_analytics_\w+", runbook):
        assert name in samples
    for line in re.findall(r"`campaign-analytics ([^`…]+)`", runbook):
        words = shlex.split(re.sub(r"\b(ID|N)\b", "1", line))
        assert is_known([word for word in words if not word.startswith("[")]), line
    for name in re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", runbook):
        assert name in variables


def test_each_metric_is_explained(samples: Labels) -> None:
    """The table of operation.md has all of them, each with its labels, and no other."""
    text = (ROOT / "docs" / "operation.md").read_text().partition("| `campaign_analytics_…` | what |")[2]
    cells = [line.split(" | ")[0] for line in text.partition("\n\n")[0].splitlines()[2:]]
    named = {}
    for name, _, labels in re.findall(r"`([a-z_]+)({([a-z,]+)})?`", " ".join(cells)):
        named[f"campaign_analytics_{name}"] = set(labels.split(",")) - {""}
    exported = {re.sub("_(bucket|sum|count)$", "", name): labels - {"le"} for name, labels in samples.items()}
    assert named == {name: labels for name, labels in exported.items() if name != "up"}


def test_the_program_is_started_as_it_can_be(compose: dict[str, Any]) -> None:
    """By commands that it has: in compose.yaml, in Kubernetes, by systemd, in the image."""
    services = compose["services"]
    assert services["api"]["entrypoint"] == API_ALONE
    assert "command" not in services["api"]
    assert [*api_container()["command"], *api_container()["args"]] == API_ALONE
    image = (ROOT / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["campaign-analytics"]' in image
    lines = [services["migrate"]["command"], services["project"]["command"]]
    lines += [json.loads(words) for words in re.findall(r"^CMD (\[.*\])$", image, re.MULTILINE)]
    for pod in pods():
        lines += [container["args"] for container in pod["containers"] if "command" not in container]
    for file in (DEPLOY / "systemd").glob("*.service"):
        program, *arguments = shlex.split(unit(file.name)["ExecStart"])
        assert program == "/opt/campaign-analytics/bin/campaign-analytics"
        lines.append(arguments)
    assert len(lines) == 7
    for line in lines:
        assert is_known(line), line


def test_variables_are_those_of_the_settings(compose: dict[str, Any], variables: set[str]) -> None:
    """Of our containers and units; and those of Kubernetes' map have values that can be used."""
    services = compose["services"]
    named: set[str] = set(chain.from_iterable(services[name]["environment"] for name in ("migrate", "api", "project")))
    for pod in pods():
        named.update(each["name"] for container in pod["containers"] for each in container["env"])
        for container in pod["containers"]:
            assert [each["configMapRef"]["name"] for each in container["envFrom"]] == ["campaign-analytics"]
    data = of_kind("ConfigMap")["campaign-analytics"]["data"]
    named.update(data)
    for file in (DEPLOY / "systemd").glob("*.service"):
        named.update(each.partition("=")[0] for each in unit(file.name)["Environment"].split())
    own = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    [line] = re.findall(r"^ENV (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    named.update({each.partition("=")[0] for each in line.split()} - own)
    assert named <= variables
    assert {"DATABASE_URL", "JWT_SECRET"} <= named
    secrets = {"DATABASE_URL": "postgresql://postgres/x", "JWT_SECRET": JWT_SECRET}
    assert settings.from_environment({**secrets, **data}).processes == int(data["WEB_CONCURRENCY"])


def test_compose_leaves_no_secret_to_chance(compose: dict[str, Any]) -> None:
    """A start without them prints which is missing."""
    services = compose["services"]
    for name in ("migrate", "api", "project"):
        assert "${POSTGRES_PASSWORD:?" in services[name]["environment"]["DATABASE_URL"]
    assert services["api"]["environment"]["JWT_SECRET"].startswith("${JWT_SECRET:?")
    assert services["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_PASSWORD:?")
    assert all(port.startswith("127.0.0.1:") for each in services.values() for port in each.get("ports", ()))


def test_compose_begins_with_the_tables(compose: dict[str, Any]) -> None:
    """PostgreSQL, then `migrate`, then the API and two projectors."""
    services = compose["services"]
    assert services["postgres"]["image"] == "postgres:18"
    assert services["postgres"]["volumes"] == ["database:/var/lib/postgresql"]
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("api", "project"):
        assert services[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert services["project"]["deploy"]["replicas"] == 2


def test_connections_fit_into_the_database(compose: dict[str, Any]) -> None:
    """All that compose.yaml runs may hold as many connections as it can, and people still get in."""
    services = compose["services"]
    most = int(next(each for each in services["postgres"]["command"] if "max_connections" in each).partition("=")[2])
    workers = int(services["api"]["environment"]["WEB_CONCURRENCY"].partition(":-")[2].rstrip("}"))
    threads = settings.from_environment({}).threads
    assert workers * (threads + APPENDS + 3) + services["project"]["deploy"]["replicas"] * 6 < most / 2


def test_mounted_files_are_there(compose: dict[str, Any]) -> None:
    """And each volume that is named is one."""
    for service in compose["services"].values():
        for source, target in (each.split(":")[:2] for each in service.get("volumes", ())):
            assert target.startswith("/")
            assert (ROOT / source).is_dir() if source.startswith("./") else source in compose["volumes"]
    [job] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"api:{PORT}"]}]
    assert job["dns_sd_configs"] == [{"names": ["project"], "type": "A", "port": METRICS_PORT}]
    assert f'up{{job="{job["job_name"]}"}}' in {rule["expr"].partition(" ==")[0] for rule in rules()}
    provisioning = DEPLOY / "grafana" / "provisioning"
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in board()} == {source["uid"]}
    [boards] = yaml.safe_load((provisioning / "dashboards" / "boards.yml").read_text())["providers"]
    assert f"./deploy/grafana/boards:{boards['options']['path']}:ro" in compose["services"]["grafana"]["volumes"]


def test_paths_and_ports_are_the_services(client: testing.TestClient, compose: dict[str, Any]) -> None:
    """Of probes, of scraping, of proxies."""
    container = api_container()
    assert container["ports"] == [{"name": "http", "containerPort": PORT}]
    probes = {name: container[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {each["httpGet"]["port"] for each in probes.values()} == {"http"}
    paths = {name: each["httpGet"]["path"] for name, each in probes.items()}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert probes["readinessProbe"]["timeoutSeconds"] > ANSWER_SECONDS
    annotations = of_kind("Deployment")["campaign-analytics-api"]["spec"]["template"]["metadata"]["annotations"]
    assert (annotations["prometheus.io/path"], annotations["prometheus.io/port"]) == ("/metrics", str(PORT))
    for path in (*paths.values(), annotations["prometheus.io/path"]):
        assert client.simulate_get(path).status_code == 200
    [projecting] = of_kind("Deployment")["campaign-analytics-project"]["spec"]["template"]["spec"]["containers"]
    assert projecting["ports"] == [{"name": "metrics", "containerPort": METRICS_PORT}]
    assert projecting["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    annotations = of_kind("Deployment")["campaign-analytics-project"]["spec"]["template"]["metadata"]["annotations"]
    assert (annotations["prometheus.io/path"], annotations["prometheus.io/port"]) == ("/metrics", str(METRICS_PORT))
    bind = {"name": "METRICS_BIND", "value": f"0.0.0.0:{METRICS_PORT}"}
    assert bind in projecting["env"]
    environment = compose["services"]["project"]["environment"]
    assert (environment["METRICS_BIND"], environment["PORT"]) == (bind["value"], str(METRICS_PORT))
    assert settings.from_environment({**environment, "DATABASE_URL": ""}).metrics_bind == ("0.0.0.0", METRICS_PORT)
    assert compose["services"]["api"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert f"EXPOSE {PORT}" in (ROOT / "Dockerfile").read_text()
    for file in PROXIES:
        assert set(re.findall(r"10\.0\.0\.\d+:(\d+)", file.read_text())) == {str(PORT)}
    [(name, service)] = of_kind("Service").items()
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    assert name == "campaign-analytics"


def test_what_ends_may_drain(compose: dict[str, Any]) -> None:
    """Nobody kills the service before it has answered what had begun."""
    for name in ("migrate", "api", "project"):
        assert int(compose["services"][name]["stop_grace_period"].rstrip("s")) > DRAIN_SECONDS
    for name, deployment in of_kind("Deployment").items():
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        first = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod["terminationGracePeriodSeconds"] > first + DRAIN_SECONDS, name
    for file in (DEPLOY / "systemd").glob("*.service"):
        assert int(unit(file.name)["TimeoutStopSec"]) > DRAIN_SECONDS
        assert unit(file.name)["KillMode"] == "mixed"
    assert int(unit("campaign-analytics.service")["LimitNOFILE"]) >= worker.MOST_CONNECTIONS + worker.OTHER_DESCRIPTORS


def test_pods_and_their_budgets_are_of_one_kind() -> None:
    """Whoever drains a node leaves one pod of each kind, and services find the pods that they mean."""
    deployments, budgets = of_kind("Deployment"), of_kind("PodDisruptionBudget")
    assert deployments.keys() == budgets.keys()
    for name, deployment in deployments.items():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels
        assert budgets[name]["spec"]["selector"]["matchLabels"] == labels
        assert budgets[name]["spec"]["minAvailable"] < deployment["spec"]["replicas"]
    [service] = of_kind("Service").values()
    api = deployments["campaign-analytics-api"]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == api


def test_containers_may_do_nothing_but_their_work(compose: dict[str, Any]) -> None:
    """A numeric account, a read-only root file system, and a writable directory for temporary files."""
    image = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (.*)$", image, re.MULTILINE) == ["10001:10001"]
    assert re.findall(r"^VOLUME (.*)$", image, re.MULTILINE) == ["/scratch"]
    assert " TMPDIR=/scratch" in image
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 10001
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["volumeMounts"] == [{"name": "scratch", "mountPath": "/scratch"}]
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
    for name in ("migrate", "api", "project"):
        assert compose["services"][name]["read_only"]
        assert compose["services"][name]["cap_drop"] == ["ALL"]


def test_proxies_give_a_connection_up_first() -> None:
    """Else they send requests into a connection that the service is closing."""
    keep_alive = settings.from_environment({}).keep_alive
    nginx, caddy = (file.read_text() for file in PROXIES)
    assert 0 < int(re.findall(r"^\s*keepalive_timeout (\d+)s;", nginx, re.MULTILINE)[0]) < keep_alive
    assert 0 < int(re.findall(r"^\s*keepalive (\d+)s", caddy, re.MULTILINE)[0]) < keep_alive
    assert nginx.count("{") == nginx.count("}")
    assert re.findall(r"client_header_timeout (\d+)s", nginx) == [f"{worker.HEAD_SECONDS:.0f}"]
    assert re.findall(r"read_header (\d+)s", caddy) == [f"{worker.HEAD_SECONDS:.0f}"]


def test_versions_are_pinned(compose: dict[str, Any]) -> None:
    """No image is whatever is newest, and ours is the version of this tree."""
    [version] = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    images = {each["image"] for each in compose["services"].values()}
    images |= {container["image"] for pod in pods() for container in pod["containers"]}
    images |= set(re.findall(r"^ARG PYTHON=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert len(images) == 5
    for image in images:
        name, _, tag = image.partition(":")
        assert re.match(r"v?\d", tag), image
        assert name != "campaign-analytics" or tag == version
    assert [*of_kind("Job")] == [f"campaign-analytics-migrate-{version.replace('.', '-')}"]
    for file in (ROOT / "Dockerfile", ROOT / "compose.yaml", *DEPLOY.rglob("*.*")):
        assert ":latest" not in file.read_text()


class Alive(BaseHTTPRequestHandler):
    """Answers /healthz, and nothing else."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.mark.processes
def test_the_health_check_of_the_image_passes_only_beside_a_living_service() -> None:
    """The very command that the image carries."""
    [check] = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    _, *arguments = json.loads(check)

    def code(port: int) -> int:
        run = [sys.executable, *arguments]
        return subprocess.run(run, env={"PORT": str(port)}, check=False, capture_output=True).returncode

    with HTTPServer(("127.0.0.1", 0), Alive) as server:
        threading.Thread(target=server.serve_forever).start()
        port = server.server_address[1]
        assert code(port) == 0
        server.shutdown()
    assert code(port) != 0
