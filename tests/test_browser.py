"""The browser itself: that tests in it can fail."""

from pathlib import Path

from browser import IN_A_BROWSER, open_page, problems
from playwright.sync_api import Browser

pytestmark = IN_A_BROWSER


def test_a_page_has_its_size_its_colours_and_its_problems(browser: Browser, tmp_path: Path) -> None:
    style = "<style>body { color: black } @media (prefers-color-scheme: dark) { body { color: white } }</style>"
    script = "<script>console.error('first'); throw new Error('second')</script><img src='missing.png' alt=''>"
    (tmp_path / "page.html").write_text(f"<!doctype html>{style}<p>text</p>{script}")
    with open_page(browser, 390, 700, dark=True) as page:
        found = problems(page)
        page.goto((tmp_path / "page.html").as_uri())
        assert page.evaluate("[innerWidth, innerHeight, getComputedStyle(document.body).color]") == [
            390,
            700,
            "rgb(255, 255, 255)",
        ]
    assert [problem.partition(":")[0] for problem in sorted(found)] == ["console", "console", "not loaded", "script"]
    with open_page(browser, javascript=False) as page:
        found = problems(page)
        page.goto((tmp_path / "page.html").as_uri())
        assert page.inner_text("p") == "text"
    assert not [problem for problem in found if "first" in problem or "second" in problem]
