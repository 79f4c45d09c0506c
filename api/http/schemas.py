"""Types of the fields of answers, with what the OpenAPI document says of them beyond their Python type."""

from typing import Annotated, Any

from msgspec import Meta

from domain.events import MAX_ID

Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
Count = Annotated[int, Meta(ge=0)]
Position = Annotated[int, Meta(ge=0, le=MAX_ID)]
Word = Annotated[str, Meta(min_length=1)]
Instant = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
# What is shown of a campaign's numbers: the metrics of `METRICS`, by their names and in their order.
Analytics = Annotated[dict[str, Any], Meta(extra_json_schema={"$ref": "#/components/schemas/Analytics"})]
