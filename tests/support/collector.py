"""A collector of spans on this machine, as OpenTelemetry's protocol over HTTP has it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.http_servers import Quiet, http_server


class Span(NamedTuple):
    """A span that was sent: who sent it, what it is, its ids, and its own attributes."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, int | str]


class Collector:
    """Where it listens, whether it takes what is sent, and what it has taken."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.url = ""
        self.status = 200
        self.refused = 0
        self.spans: list[Span] = []

    def named(self, name: str) -> list[Span]:
        """Return the spans of a name."""
        return [each for each in self.spans if each.name == name]


@contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector."""
    made = Collector()

    class Taking(Quiet):
        def do_POST(self) -> None:  # noqa: N802 (the standard library's name)
            """Take spans."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
            if made.status == 200:
                made.spans += _spans(body)
            else:
                made.refused += 1
            self.send_response(made.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with http_server(Taking) as url:
        made.url = url
        yield made


def _spans(body: bytes) -> Iterator[Span]:
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        service = next(each.value.string_value for each in resource.resource.attributes if each.key == "service.name")
        for scope in resource.scope_spans:
            for span in scope.spans:
                attributes = {
                    each.key: each.value.int_value if each.value.HasField("int_value") else each.value.string_value
                    for each in span.attributes
                }
                ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
                yield Span(service, span.name, *ids, attributes)
