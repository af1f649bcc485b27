"""TensorBoard in a browser, as `wavecoder tensorboard` shows it: for tests and for the pictures in docs/."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Frame, Page

_DEADLINE = 120  # seconds in which the server has started and read the curves


@contextmanager
def served(folder: Path, runs: int) -> Iterator[str]:
    """Run `wavecoder tensorboard FOLDER` until it has read so many runs, with their last points; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "wavecoder", "tensorboard", str(folder), "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    address = f"http://localhost:{port}"
    try:
        deadline = time.monotonic() + _DEADLINE
        while len(asked := ask(address, "data/runs")) < runs:
            assert server.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline, asked
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def ask(address: str, path: str) -> list[str]:
    """What the server answers to a question; nothing if it does not answer yet."""
    try:
        with urllib.request.urlopen(f"{address}/{path}", timeout=20) as answer:
            return list(json.load(answer))
    except OSError:
        return []


def open_curves(page: Page, address: str) -> None:
    """Open the tab *Time Series*, and wait for its first chart."""
    _open(page, address, "timeseries")
    page.locator("scalar-card line-chart-axis").first.wait_for()


def open_charts(page: Page, address: str) -> None:
    """Open the tab *Custom Scalars*, and wait for the lines in it."""
    _open(page, address, "custom_scalars")
    page.locator("tf-custom-scalar-multi-line-chart-card .match-list-entry").first.wait_for(state="attached")


def open_settings(page: Page, address: str) -> None:
    """Open the tab *HPARAMS*, and wait for its table."""
    _open(page, address, "hparams")
    page.locator("tf-hparams-table-view").get_by_text("Trial ID").wait_for()


def open_projector(page: Page, address: str, run: str) -> Frame:
    """Open the tab *Projector* with the points of a run; gives its frame."""
    with page.expect_event("framenavigated", lambda frame: frame.url.endswith("projector_binary.html")) as event:
        _open(page, address, "projector")
    frame: Frame = event.value
    frame.locator("span.numDataPoints").filter(has_text=re.compile("[1-9]")).wait_for()
    choose(frame, "vz-projector-data-panel paper-dropdown-menu >> nth=0", run)
    return frame


def choose(frame: Frame, menu: str, option: str) -> None:
    """Choose an option of a menu in the projector."""
    frame.locator(menu).click()
    frame.get_by_role("option", name=option).click()


def _open(page: Page, address: str, tab: str) -> None:
    page.goto("about:blank")  # another tab of the same page would not be loaded again
    page.goto(f"{address}/?darkMode=false#{tab}")
