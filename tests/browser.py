"""Debian's Chromium, without a screen, for tests of what people see in a browser and for pictures of it.

Test modules that use it have `pytestmark = IN_A_BROWSER`.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium")

IN_A_BROWSER = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),  # one at a time: each has several processes
    pytest.mark.skipif(CHROMIUM is None, reason="chromium not installed: apt-get install chromium"),
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium; there can be one at a time in a process.

    Raises:
        FileNotFoundError: It is not installed.
    """
    if CHROMIUM is None:
        raise FileNotFoundError("chromium is not installed")
    # a container's root has no sandbox; /dev/shm is small there
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--font-render-hinting=none"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(
    browser: Browser, width: int = 1280, height: int = 800, dark: bool = False, javascript: bool = True
) -> Iterator[Page]:
    """An empty page with a window of its own; its `goto` opens an address, `file:///…` or `http://…`.

    Args:
        browser: From `chromium`.
        width: Of the window, in CSS pixels.
        height: Of the window, in CSS pixels.
        dark: Whether its reader prefers dark pages.
        javascript: Whether scripts run.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        java_script_enabled=javascript,
        reduced_motion="reduce",
        locale="en-GB",
    )
    try:
        page = context.new_page()
        page.set_default_timeout(60_000)  # the machine may be slow
        yield page
    finally:
        context.close()


def problems(page: Page) -> list[str]:
    """What goes wrong on a page from now on: errors in its console or its scripts, files that are not found. The list grows."""
    found: list[str] = []
    page.on("console", lambda message: found.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(f"script: {error}"))
    page.on("requestfailed", lambda request: found.append(f"not loaded: {request.url}"))
    page.on("response", lambda answer: found.append(f"{answer.status}: {answer.url}") if answer.status >= 400 else None)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for all tests of a module."""
    with chromium() as started:
        yield started
