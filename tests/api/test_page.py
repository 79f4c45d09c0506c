"""Shows how the page's files are served: small, checked again each time, under a policy that lets nothing else in."""

import re

import falcon
import pytest
from falcon import testing

from api.app import create_app
from api.page import FOLDER
from domain.recorder import Pool
from service import settings
from service.settings import BadSettingError
from service.web.application import make_parts
from tests.support.examples import JWT_SECRET
from tests.support.running import ROOT

MOST_BYTES = 100_000


def policy(answer: testing.Result) -> dict[str, str]:
    """Return the directives of an answer's policy."""
    directives = (each.strip().partition(" ") for each in answer.headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in directives}


def test_the_page_lets_in_nothing_but_its_own_files(client: testing.TestClient) -> None:
    """No inline script or style, no text that becomes markup, no frame, no form, nothing of another origin."""
    answer = client.simulate_get("/?workspace=1&search=x")
    assert (answer.status_code, answer.headers["content-type"]) == (200, falcon.MEDIA_HTML)
    directives = policy(answer)
    assert directives["default-src"] == "'none'"
    assert {directives[f"{each}-src"] for each in ("script", "style", "img", "connect")} == {"'self'"}
    assert directives["require-trusted-types-for"] == "'script'"
    assert (directives["trusted-types"], directives["frame-ancestors"]) == ("'none'", "'none'")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"<script(?![^>]*src=)|style=|\son\w+=|https?:", answer.text)


def test_each_file_that_is_asked_for_is_there(client: testing.TestClient) -> None:
    """With its type and a tag, by which an unchanged one is not sent again; and no others."""
    for file in FOLDER.iterdir():
        text = file.read_text(encoding="utf-8")
        for path in re.findall(r'"(/page/[^"]+)"', text):
            answer = client.simulate_get(path)
            assert answer.status_code == 200, path
            assert answer.headers["x-content-type-options"] == "nosniff"
            revalidated = client.simulate_get(path, headers={"If-None-Match": answer.headers["etag"]})
            assert (revalidated.status_code, revalidated.content) == (304, b"")
    for wrong in ("/page/other.js", "/page/..%2Fapi%2Fpage.py", "/page/"):
        assert client.simulate_get(wrong).status_code == 404


def test_all_of_it_is_small(client: testing.TestClient) -> None:
    """At most 100 kB, as it is and before it is packed."""
    del client
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= MOST_BYTES


def test_no_text_ever_becomes_markup() -> None:
    """No file uses what would make elements of text, or code of it."""
    risky = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc|DOMParser"
    wrong = [file.name for file in FOLDER.glob("*.js") if re.search(risky, file.read_text(encoding="utf-8"))]
    assert not wrong


def test_only_the_origins_that_are_named_may_show_it_in_a_frame(pool: Pool) -> None:
    """The API's own answers stay out of frames."""
    environment = {"JWT_SECRET": JWT_SECRET, "EMBED_ORIGINS": "https://app.example.com, http://localhost:3000"}
    app = create_app(make_parts(pool, settings.from_environment(environment), {}))
    client = testing.TestClient(app)
    answer = client.simulate_get("/")
    assert policy(answer)["frame-ancestors"] == "https://app.example.com http://localhost:3000"
    assert "x-frame-options" not in answer.headers
    assert client.simulate_get("/api/v1/me/").headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "bad", ["*", "app.example.com", "https://a.example.com/path", "https://a.example.com; script-src *"]
)
def test_an_origin_that_is_none_is_named_at_start(bad: str) -> None:
    """Before anything of it gets into a header."""
    with pytest.raises(BadSettingError, match="EMBED_ORIGINS: expected origins"):
        settings.from_environment({"EMBED_ORIGINS": bad})


def test_the_files_are_part_of_the_image() -> None:
    """Of a wheel too, as `tests/service/test_wheel.py` shows."""
    assert "COPY page page" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
