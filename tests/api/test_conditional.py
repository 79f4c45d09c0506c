"""Shows that a tag stands for what is answered: a 304 is never wrong, nor for a user without access."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st

from api.answers import cache
from api.app import create_app
from domain.access import Access
from domain.recorder import Pool
from projections.building import replay
from projections.metrics import FOLD_VERSION
from projections.queries.dashboard import Workspace
from projections.queries.standing import Standing, State
from service import settings
from service.web.application import make_parts
from tests.support.examples import JWT_SECRET, api_key, email_sent, session, worked_example
from tests.support.histories import workspaces
from tests.support.properties import on_the_database
from tests.support.read_models import ignore, project_all
from tests.support.stored_events import record

DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
REJECTIONS = "/api/v1/events/rejections/"


@contextmanager
def application(pool: Pool) -> Iterator[testing.TestClient]:
    """Give the application as another worker process has it, which keeps nothing yet."""
    chosen = settings.from_environment({"JWT_SECRET": JWT_SECRET, "DATABASE_URL": "postgresql://unused"})
    parts = make_parts(pool, chosen, {})
    try:
        yield testing.TestClient(create_app(parts))
    finally:
        parts.close()


@pytest.fixture
def key(users: Access) -> dict[str, str]:
    """Give the header of a key of a user who is linked to workspaces 340 and 341."""
    return api_key(users, 340, 341)


def get(client: testing.TestClient, headers: dict[str, str], query: str = "", path: str = DASHBOARD) -> Any:
    """Ask for the dashboard."""
    return client.simulate_get(path, headers=headers, query_string=query)


@pytest.mark.parametrize("query", ["", "workspace_id=341", "workspace_id=ALL"])
@pytest.mark.parametrize("spelled", ["{}", '"other", {}', "*", 'W/"other",{} , "another"'])
def test_who_has_the_answer_already_gets_no_body(
    client: testing.TestClient, pool: Pool, key: dict[str, str], query: str, spelled: str
) -> None:
    """Nothing but the head, with the same tag, and how fresh it is."""
    record(pool, 340, *worked_example())
    project_all(pool)
    first = get(client, key, query)
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    assert first.headers["cache-control"] == "private, no-cache"
    assert {"Cookie", "X-API-Key"} <= set(first.headers["vary"].split(", "))
    again = get(client, {**key, "If-None-Match": spelled.format(tag)}, query)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert again.headers["x-lag"] == "0"
    assert "content-type" not in again.headers
    assert get(client, {**key, "If-None-Match": '"other"'}, query).content == first.content


@pytest.mark.parametrize(
    ("query", "path", "status"),
    [
        ("metric=amount_of_replies", f"{DASHBOARD}999/explain/", 404),
        ("metric=nonsense", f"{DASHBOARD}123/explain/", 400),
        ("workspace_id=777", DASHBOARD, 403),
        ("limit=0", "/api/v1/events/", 400),
    ],
)
def test_a_precondition_turns_no_error_into_a_304(  # noqa: PLR0913 (a world and a question)
    client: testing.TestClient, pool: Pool, key: dict[str, str], query: str, path: str, status: int
) -> None:
    """It counts only where the answer would be a success (RFC 9110, 13.2.1), where `*` means any answer."""
    record(pool, 340, *worked_example())
    project_all(pool)
    assert get(client, {**key, "If-None-Match": "*"}, query, path).status_code == status
    good = get(client, {**key, "If-None-Match": "*"}, "metric=amount_of_replies", f"{DASHBOARD}123/explain/")
    assert good.status_code == 304
    assert get(client, {**key, "If-None-Match": '"*"'}).status_code == 200, "a tag like others, and not ours"


def test_the_tag_changes_with_what_the_answer_is_made_of(
    client: testing.TestClient, pool: Pool, users: Access, key: dict[str, str]
) -> None:
    """With the position, with a replay, with the query, with a link; not with what is not projected yet."""
    record(pool, 340, *worked_example())
    project_all(pool)
    tags = [get(client, key, "workspace_id=ALL").headers["etag"]]
    record(pool, 340, email_sent(1))
    assert get(client, key, "workspace_id=ALL").headers["etag"] == tags[0]
    project_all(pool)
    tags.append(get(client, key, "workspace_id=ALL").headers["etag"])
    replay.replay(pool, 340, ignore)
    tags.append(get(client, key, "workspace_id=ALL").headers["etag"])
    users.unlink("u-1", 341, "cli:test")
    tags.append(get(client, key, "workspace_id=ALL").headers["etag"])
    tags.append(get(client, key, "workspace_id=340").headers["etag"])
    assert len(set(tags)) == 5
    with application(pool) as another:
        assert get(another, key, "workspace_id=340").headers["etag"] == tags[-1], "every process gives the same"


def test_who_may_not_see_it_gets_no_304(
    client: testing.TestClient, pool: Pool, users: Access, key: dict[str, str]
) -> None:
    """From the very next request after the link or the key has gone; nor does a wrong secret."""
    record(pool, 340, *worked_example())
    project_all(pool)
    tag = {"If-None-Match": get(client, key, "workspace_id=340").headers["etag"]}
    wrong = {"X-API-Key": key["X-API-Key"][:-1] + "!"}
    assert get(client, {**wrong, **tag}, "workspace_id=340").status_code == 401
    assert get(client, tag, "workspace_id=340").status_code == 401
    assert get(client, {**session("stranger"), **tag}, "workspace_id=340").status_code == 403
    assert get(client, {**key, **tag}, "workspace_id=340&typo=1").status_code == 400
    users.unlink("u-1", 340, "cli:test")
    denied = get(client, {**key, **tag}, "workspace_id=340")
    assert (denied.status_code, denied.headers["cache-control"]) == (403, "no-store")
    assert "etag" not in denied.headers
    users.revoke_key("u-1", key["X-API-Key"].partition(".")[0], "cli:test")
    assert get(client, {**key, **tag}, "workspace_id=341").status_code == 401


@on_the_database()
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["read", "read", "record", "project", "replay", "link", "unlink"]),
            st.sampled_from([0, 1]),
            st.sampled_from(["one", "ALL", "current"]),
        ),
        max_size=25,
    )
)
def test_a_cached_answer_is_never_used_for_another_state(
    pool: Pool, users: Access, steps: list[tuple[str, int, str]]
) -> None:
    """Whatever happens between two reads, both answers are those of a process that keeps nothing."""
    two = (next(workspaces), next(workspaces))
    user = f"reader-{two[0]}"
    tags = dict[str, str]()
    with application(pool) as keeping:
        for number, (step, which, scope) in enumerate(steps):
            workspace_id = two[which]
            match step:
                case "record":
                    record(pool, workspace_id, email_sent(number))
                case "project":
                    project_all(pool)
                case "replay":
                    replay.replay(pool, workspace_id, ignore)
                case "link":
                    users.link(user, workspace_id, "cli:test")
                case "unlink":
                    users.unlink(user, workspace_id, "cli:test")
                case _:
                    query = {"one": f"workspace_id={workspace_id}", "ALL": "workspace_id=ALL", "current": ""}[scope]
                    with application(pool) as another:
                        fresh = get(another, session(user), query)
                    cached = get(keeping, session(user), query)
                    assert (cached.status_code, cached.content) == (fresh.status_code, fresh.content)
                    assert cached.headers.get("etag") == fresh.headers.get("etag")
                    known = tags.get(query)
                    again = get(keeping, {**session(user), "If-None-Match": known or "none"}, query)
                    unchanged = fresh.status_code == 200 and known == fresh.headers["etag"]
                    assert again.status_code == (304 if unchanged else fresh.status_code)
                    tags[query] = fresh.headers.get("etag", "none")


def test_the_cache_is_bounded() -> None:
    """The least recently used piece is evicted first, and a piece larger than the cache is not cached."""
    pieces = cache.RenderedCache(most_bytes=100)

    def render(workspace_id: int, size: int) -> bytes:
        workspace = Workspace(Standing(workspace_id, 5, 7, 1, 9, 1, lost=False, fold_version=FOLD_VERSION), [])
        return pieces.rendered(workspace, {}, lambda _: b"x" * size)

    for workspace_id in (1, 2, 3):
        render(workspace_id, 30)
    assert list(pieces.cached((1,))) == [State(1, 5, 7, 1, 9)]
    render(4, 40)
    assert {each.workspace_id for each in pieces.cached((1, 2, 3, 4))} == {1, 3, 4}
    assert render(5, 101) == b"x" * 101
    assert pieces.cached((1, 2, 3, 4, 5)) == {}


def test_rejections_have_a_tag_too(client: testing.TestClient, key: dict[str, str]) -> None:
    """It is made of the newest one."""
    tags = []
    for number in range(3):
        tags.append(get(client, key, path=REJECTIONS).headers["etag"])
        assert get(client, {**key, "If-None-Match": tags[-1]}, path=REJECTIONS).status_code == 304
        client.simulate_post("/api/v1/events/?workspace_id=340", headers=key, json={"id": str(number)})
    assert len(set(tags)) == 3


@pytest.mark.parametrize("path", [DASHBOARD, REJECTIONS, "/healthz", "/readyz", "/metrics"])
def test_a_head_is_that_of_the_answer(client: testing.TestClient, key: dict[str, str], path: str) -> None:
    """And nothing more; where there is nothing to get there is no head either."""
    got, head = get(client, key, path=path), client.simulate_head(path, headers=key)
    assert (head.status_code, head.content) == (200, b"")
    left_out = {"x-request-id", "ratelimit", "content-length"}
    assert {n: v for n, v in head.headers.items() if n not in left_out} == {
        n: v for n, v in got.headers.items() if n not in left_out
    }
    assert client.simulate_head("/api/v1/access/users/u-1/keys/", headers=key).status_code == 405
