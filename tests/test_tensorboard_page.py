"""What stands on the screen when a sweep is opened with `wavecoder tensorboard`, in a real browser."""

from collections.abc import Iterator

import pytest
from browser import IN_A_BROWSER, open_page, problems
from playwright.sync_api import Browser, Page
from processes import run_script
from tensorboard_page import open_charts, open_curves, open_projector, open_settings, served

pytestmark = IN_A_BROWSER

NETWORKS = [f"{activation} latent={latent}" for activation in ("gelu", "relu", "tanh") for latent in (1, 5)]
REFERENCES = ["Bayes", "PCA latent=1", "PCA latent=5", "SVD latent=1", "SVD latent=5", "Wiener"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that shows a sweep of six small jobs."""
    folder = tmp_path_factory.mktemp("six")
    swept = ("-m", "sweep=six", "activation=relu,tanh,gelu", "latent=1,5", "optimizer.lr=2e-3")
    little = ("data.train_size=640", "data.val_size=100", "data.batch_size=32", "trainer.max_epochs=3", "noise.draws=1")
    done = run_script("train.py", folder, *swept, *little)
    assert done.returncode == 0, done.stderr
    with served(folder / "outputs" / "sweeps" / "six", runs=len(NETWORKS) + len(REFERENCES)) as address:
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with open_page(browser) as page:
        found = problems(page)
        yield page
        assert found == []


def test_curves(address: str, page: Page) -> None:
    open_curves(page, address)
    names = page.locator("runs-data-table tb-data-table-content-cell").filter(has_text="e")
    assert [name.strip() for name in names.all_inner_texts()] == REFERENCES + NETWORKS
    # whole, in the narrow column beside the charts
    edge = page.locator("runs-selector").evaluate("element => element.getBoundingClientRect().right")
    assert all(box["x"] + box["width"] <= edge for box in (name.bounding_box() or {} for name in names.all()))

    groups = [text for text in page.locator(".group-title, .group-text .tag-group").all_inner_texts() if text != "Pinned"]
    assert list(dict.fromkeys(groups)) == ["error", "sine", "train", "versus", "view"]
    tags = [card.get_attribute("title") for card in page.locator("card-view tb-truncated-path").all()]
    assert tags[:3] == ["error/val/mse", "error/val/mse_noise_0.1", "error/val/mse_noise_1.0"]


def test_charts_of_errors_by_noise(address: str, page: Page) -> None:
    open_charts(page, address)
    charts = page.locator("tf-custom-scalar-multi-line-chart-card")
    titles = ["clean signals: validation and training", "noise 0.1", "noise 1.0"]
    assert [charts.nth(number).locator(".heading-label").inner_text() for number in range(3)] == titles
    lines = {}
    for number, title in enumerate(titles):
        entries = charts.nth(number).locator(".match-list-entry")
        entries.last.wait_for(state="attached")
        lines[title] = {" ".join((entry.text_content() or "").split()[1:]) for entry in entries.all()}
    clean = [f"{tag} ({run})" for run in (*NETWORKS, *REFERENCES) for tag in ("error/val/mse", "train/mse") if run[0] not in "BW"]
    assert lines[titles[0]] == set(clean)
    assert lines["noise 0.1"] == {f"error/val/mse_noise_0.1 ({run})" for run in (*NETWORKS, *REFERENCES)}


def test_settings_and_errors_side_by_side(address: str, page: Page) -> None:
    open_settings(page, address)
    page.locator("vaadin-grid-cell-content").get_by_text(NETWORKS[-1], exact=True).wait_for()
    cells = [text.strip() for text in page.locator("tf-hparams-table-view vaadin-grid-cell-content").all_inner_texts()]
    assert cells[:4] == ["Trial ID", "Show Metrics", "activation", "latent"]
    assert {"error/val/mse", "error/val/mse_noise_0.1", "error/val/mse_noise_1.0"} <= set(cells)
    assert set(NETWORKS) <= set(cells)
    assert not set(REFERENCES) & set(cells)
    columns = [text.strip() for text in page.locator("tf-hparams-query-pane paper-checkbox").all_text_contents()]
    assert {"optimizer.lr", "seed", "train/mse", "sine/mean_mse_noise_1.0"} <= set(columns)


@pytest.mark.parametrize(("run", "dimensions"), [("tanh latent=5", 5), ("tanh latent=1", 3)])
def test_the_latent_in_the_projector(run: str, dimensions: int, address: str, page: Page) -> None:
    frame = open_projector(page, address, run)
    frame.locator("span.dim").get_by_text(str(dimensions), exact=True).wait_for()
    assert frame.locator("span.numDataPoints").inner_text() == "1005"
    frame.locator("#colorby").click()
    options = frame.locator("#colorby paper-item:visible").all_inner_texts()
    assert [" ".join(option.split()) for option in options] == ["No color map", "Metadata", "family 5 colors", "r gradient"]
