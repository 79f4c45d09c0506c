"""A real browser, headless, that looks at the page as its readers do; where the machine has none, tests are skipped."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

# The first is Chromium without its windows, which take half of the CPU even where nobody sees them.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
ZONE = "Europe/Berlin"
MISSING = "the page was not looked at: there is no Chromium here (apt install chromium-headless-shell)"


@contextmanager
def launched() -> Iterator[Browser]:
    """Give the machine's browser; skip where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


class Reader:
    """Somebody who looks at the page, and what their browser has asked for and complained of meanwhile."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        """Take their browser's context and where the service is."""
        self.url = url
        self.context = context
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.set_default_timeout(10_000)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._on_console)

    def _on_console(self, message: Any) -> None:
        # A refused request is the page's business, which the tests look at.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def come(self, key: str | None = None, query: str = "") -> "Reader":
        """Open the page, with a key in the fragment, and wait until it is live and has all of its answers."""
        self.page.goto(f"{self.url}/{query}" + (f"#key={key}" if key else ""))
        self.settled()
        return self

    def settled(self) -> None:
        """Wait until the page has drawn what was chosen, is live, and nothing is being loaded any more."""
        # The page draws a change in the next frame, and only then shows that it loads something.
        self.page.evaluate("() => new Promise(requestAnimationFrame)")
        self.page.wait_for_selector("#fresh.good", timeout=20_000)
        expect(self.page.locator(".loading")).to_have_count(0, timeout=20_000)

    def text(self, selector: str) -> str:
        """Return what stands in the first such element."""
        return self.page.locator(selector).first.inner_text()

    def tile(self, metric: str) -> str:
        """Return a tile's number as it stands there."""
        return self.text(f'.tile[data-key="{metric}"] .number')


@contextmanager
def reading(browser: Browser, url: str, **options: Any) -> Iterator[Reader]:
    """Give a reader with a browser of their own; in the end it must have complained of nothing."""
    context = browser.new_context(timezone_id=options.pop("timezone_id", ZONE), **options)
    reader = Reader(context, url)
    try:
        yield reader
        assert not reader.complaints
    finally:
        context.close()
