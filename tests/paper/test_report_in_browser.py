"""Reports as Chromium shows them: on a desk and on a phone, light and dark, with and without JavaScript."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import IN_A_BROWSER, browser, open_page, problems
from playwright.sync_api import Browser, Page
from test_made_up_reports import write_job

from wavecoder.paper.claims import ACTIVATIONS
from wavecoder.paper.report import write_report
from wavecoder.runs import results
from wavecoder.training.files import read_arrays, write_arrays

__all__ = ["browser"]  # a fixture
pytestmark = IN_A_BROWSER

DESK, PHONE = (1280, 800), (390, 844)
METRICS = (
    "train/mse",
    "val/mse",
    "val/mse_noise_0.1",
    "val/mse_noise_1.0",
    "sine/mse_noise_0.1",
    "sine/mean_mse_noise_0.1",
    "sine/mean_mse_noise_1.0",
)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of made-up results of the paper's fourteen networks, of which one seed diverged, and of a job that failed."""
    sweep = tmp_path_factory.mktemp("paper")
    source = np.random.default_rng(0)
    for latent in (1, 5):
        references = {name: dict.fromkeys(METRICS, error / latent) for name, error in (("svd", 0.5), ("pca", 0.49))}
        references["bayes"] = {metric: 1e-4 for metric in METRICS if "noise" in metric}
        for activation in ACTIVATIONS:
            errors: dict[str, Any] = {metric: results.summarise(source.lognormal(-1, 0.3, 3).tolist()) for metric in METRICS}
            errors |= {f"{metric}/over_svd": errors[metric] for metric in ("val/mse", "val/mse_noise_1.0")}
            name = write_job(sweep, activation, latent, metrics=errors, references=references)
            arrays = read_arrays(sweep / name) or {}
            curves = {f"{kind}_0.1": arrays["svd_0.1"] * scale for kind, scale in (("pca", 0.9), ("svd", 0.8))}
            write_arrays(sweep / name, arrays | curves)
    results.write_results(sweep / write_job(sweep, "mynet", 3), {"status": "failed", "error": "RuntimeError: out of order"})
    return write_report(sweep)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of made-up results of somebody's own sweep."""
    sweep = tmp_path_factory.mktemp("own")
    for network in ("silu", "a network with a name that is much longer than any table has room for"):
        for rate in ("0.1", "0.01", "0.002"):
            write_job(sweep, network, 3, noise=0.3, lr=rate)
    return write_report(sweep)


@pytest.fixture(params=["papers", "own"])
def report(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture(params=[(*DESK, False), (*DESK, True), (*PHONE, False), (*PHONE, True)], ids=str)
def page(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Page]:
    width, height, dark = request.param
    with open_page(browser, width, height, dark) as opened:
        wrong = problems(opened)
        opened.goto(report.as_uri())
        yield opened
        assert wrong == []


def test_it_is_accessible_and_nothing_pans_sideways(page: Page) -> None:
    """Contrast, alternative texts, order of headings, language, title, names and sizes of targets, by the rules of axe-core."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}).response
    assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == []
    checked = {each["id"] for each in found["passes"]}
    assert {"color-contrast", "image-alt", "heading-order", "html-has-lang", "document-title", "meta-viewport"} <= checked
    alts = page.eval_on_selector_all("img", "all => all.map(img => img.alt)")
    assert len(set(alts)) == len(alts) > 3
    assert all(len(alt) > 20 for alt in alts)
    assert page.eval_on_selector_all("img", "all => all.every(img => img.complete && img.naturalWidth > 0)")


def test_the_links_lead_somewhere(page: Page, report: Path) -> None:
    links = page.eval_on_selector_all("a", "all => all.map(a => a.href)")
    places = [link.partition("#")[2] for link in links if link.startswith(f"{report.as_uri()}#")]
    assert len(places) > 5
    assert [place for place in places if not page.query_selector(f'[id="{place}"]')] == []
    files = [link for link in links if "#" not in link]
    assert [link for link in files if not Path(page.evaluate("decodeURIComponent", link.removeprefix("file://"))).exists()] == []


def test_the_first_screen_has_the_verdicts_and_the_picture(browser: Browser, papers: Path) -> None:
    with open_page(browser, *DESK) as page:
        page.goto(papers.as_uri())
        rows = page.query_selector_all("#verdicts tbody tr")
        assert [row.get_attribute("data-claim") for row in rows] == ["C1", "C2", "C3", "C4", "C5", "C6", "C8"]
        for part in (rows[-1], page.query_selector("#summary img")):
            assert part is not None
            box = part.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= DESK[1]
        page.click("#verdicts tbody tr:nth-child(3) a")
        assert page.evaluate("document.querySelector('#C3').getBoundingClientRect().top < innerHeight")


def test_a_table_is_sorted_by_its_headings(browser: Browser, papers: Path) -> None:
    table = 'table[data-metric="val/mse"]'
    with open_page(browser, *DESK) as page:
        page.goto(papers.as_uri())
        before = page.eval_on_selector_all(f"{table} tbody tr", "rows => rows.map(row => row.cells[0].textContent)")
        median = page.locator(f"{table} thead tr:last-child th").nth(1)

        def column() -> list[float]:
            return [
                float(value)
                for value in page.eval_on_selector_all(
                    f"{table} tbody tr", "rows => rows.map(row => row.cells[1].dataset.value).filter(value => value)"
                )
            ]

        unsorted = column()
        median.locator("button").click()
        assert (median.get_attribute("aria-sort"), column()) == ("ascending", sorted(unsorted))
        median.locator("button").focus()
        page.keyboard.press("Enter")
        assert (median.get_attribute("aria-sort"), column()) == ("descending", sorted(unsorted, reverse=True))
        page.locator(f"{table} thead tr:last-child th").nth(0).locator("button").click()
        names = page.eval_on_selector_all(f"{table} tbody tr", "rows => rows.map(row => row.cells[0].textContent)")
        assert names == sorted(before, key=str.lower)
        assert page.locator(f"{table} [aria-sort]").count() == 1


def test_without_javascript_everything_is_there(browser: Browser, papers: Path) -> None:
    texts = []
    for javascript in (True, False):
        with open_page(browser, *DESK, javascript=javascript) as page:
            page.goto(papers.as_uri())
            assert page.locator("th button").count() == 0 or javascript
            texts.append(page.inner_text("main") if javascript else page.locator("main").inner_text())
    assert re.sub(r"\s+", " ", texts[0]) == re.sub(r"\s+", " ", texts[1])
