"""Draws docs/tensorboard-*.png: TensorBoard with a sweep of six jobs, as Chromium shows it. Run it in the repository's folder."""

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # for the browser

from browser import chromium, open_page  # noqa: E402
from playwright.sync_api import Page  # noqa: E402
from tensorboard_page import choose, open_charts, open_curves, open_projector, open_settings, served  # noqa: E402

SWEEP = ("activation=relu,tanh,gelu", "latent=1,5")
RUNS = 6 + 6  # networks; SVD and PCA for each latent, Wiener, Bayes


def main() -> None:
    """Train the sweep in a temporary folder, and draw all pictures."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "src" / "train.py"), "-m", "sweep=six", *SWEEP]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        with served(Path(folder) / "outputs" / "sweeps" / "six", RUNS) as address, chromium() as browser:
            with open_page(browser) as page:
                open_curves(page, address)
                page.get_by_role("button", name="Settings").first.click()  # more room for the charts
                page.locator("metrics-dashboard-settings").wait_for(state="detached")
                keep(page, "curves")
            with open_page(browser) as page:
                open_charts(page, address)
                keep(page, "charts")
            with open_page(browser) as page:
                open_settings(page, address)
                page.locator("vaadin-grid-cell-content").get_by_text("tanh latent=5", exact=True).wait_for()
                keep(page, "settings")
            with open_page(browser) as page:
                frame = open_projector(page, address, "gelu latent=5")
                choose(frame, "#colorby", "family 5 colors")
                page.mouse.click(340, 700)  # which ends the turning of the view
                keep(page, "latent")


def keep(page: Page, name: str) -> None:
    """Write what the page shows, once it has stopped moving, or after ten seconds, with 128 colours."""
    before, now = b"", page.screenshot()
    for _ in range(10):
        if before == now:
            break
        page.wait_for_timeout(1000)
        before, now = now, page.screenshot()
    picture = Image.open(io.BytesIO(now)).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    picture.save(ROOT / "docs" / f"tensorboard-{name}.png", optimize=True)


if __name__ == "__main__":
    main()
