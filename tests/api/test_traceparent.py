"""Shows that a request's trace stands in its log lines, and that a forged one does not."""

import json
import logging

import falcon
import psycopg
import pytest
from falcon import testing

from api.app import create_app
from api.http.headers import traceparent_of
from domain.recorder import Pool
from service import logs, settings
from service.web.application import make_parts
from tests.support.examples import JWT_SECRET

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
FORGED = [
    "",
    "x",
    f"00-{TRACE}",
    f"00-{TRACE}-1",
    f"00-{TRACE}-01-",
    f"00-{TRACE}-01-more",
    f"ff-{TRACE}-01",
    f"00-{TRACE.upper()}-01",
    f"00-{'0' * 32}-00f067aa0ba902b7-01",
    f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    f"00-{TRACE}-01 status=200",
    f"00-{TRACE}-01, 00-{TRACE}-01",
    f"cc-{TRACE}-01more",
    "00-" + "٤" * 32 + "-00f067aa0ba902b7-01",
]


@pytest.fixture(autouse=True)
def all_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Log each request."""
    caplog.set_level(logging.INFO)


def names(caplog: pytest.LogCaptureFixture) -> list[str | None]:
    """Return the trace that each line names."""
    return [getattr(each, "traceparent", None) for each in caplog.records]


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_requests_trace_stands_in_its_line(
    client: testing.TestClient, caplog: pytest.LogCaptureFixture, flags: str
) -> None:
    """As it came, also where the request is refused; no answer repeats it, as no standard has it so."""
    result = client.simulate_get(DASHBOARD, headers={"traceparent": f"00-{TRACE}-{flags}"})
    assert result.status_code == 401
    assert names(caplog) == [f"00-{TRACE}-{flags}"]
    assert not [name for name in result.headers if name.lower().startswith("trace")]


def test_what_a_later_version_adds_is_left_out(client: testing.TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """The standard has it read as its first version."""
    client.simulate_get(DASHBOARD, headers={"traceparent": f"cc-{TRACE}-01-what-the-future-will-be-like"})
    assert names(caplog) == [f"00-{TRACE}-01"]


@pytest.mark.parametrize("header", FORGED)
def test_a_forged_trace_is_in_no_line(
    client: testing.TestClient, caplog: pytest.LogCaptureFixture, header: str
) -> None:
    """Nor is any part of it."""
    assert traceparent_of(header) is None
    if header.isascii():
        client.simulate_get(DASHBOARD, headers={"traceparent": header})
        assert names(caplog) == [None]


def test_two_traces_are_none(client: testing.TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """A request that names two is of neither."""
    client.simulate_get(DASHBOARD, headers=[("traceparent", f"00-{TRACE}-01")] * 2)
    assert names(caplog) == [None]


@pytest.mark.parametrize(
    ("error", "status", "level"),
    [(RuntimeError("a defect"), 500, "ERROR"), (psycopg.errors.QueryCanceled("too slow"), 503, "WARNING")],
)
def test_an_error_names_the_trace_too(
    pool: Pool, caplog: pytest.LogCaptureFixture, error: Exception, status: int, level: str
) -> None:
    """Of a defect, and of what the database refuses."""
    app = create_app(make_parts(pool, settings.from_environment({"JWT_SECRET": JWT_SECRET}), {}))

    class Faulty:
        async def on_get(self, _: falcon.Request, __: falcon.Response) -> None:
            raise error

    app.add_route("/faulty", Faulty())
    result = testing.TestClient(app).simulate_get("/faulty", headers={"traceparent": f"00-{TRACE}-01"})
    assert result.status_code == status
    assert [each.levelname for each in caplog.records] == [level, "INFO"]
    assert names(caplog) == [f"00-{TRACE}-01"] * 2


@pytest.mark.parametrize("form", ["text", "json"])
def test_it_is_written_in_both_forms(form: str) -> None:
    """For people and for programs."""
    configured = logs.configuration(settings.from_environment({"LOG_FORMAT": form}))["formatters"]["line"]
    formatter = (logs.Text if form == "text" else logs.Json)(
        configured["format"], **({"rename_fields": configured["rename_fields"]} if form == "json" else {})
    )
    record = logging.makeLogRecord({"name": "access", "msg": "request", "traceparent": f"00-{TRACE}-01"})
    line = formatter.format(record)
    if form == "json":
        assert json.loads(line)["traceparent"] == f"00-{TRACE}-01"
    else:
        assert line.endswith(f" traceparent=00-{TRACE}-01")
