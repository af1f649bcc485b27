"""Draws docs/report.png, the first screen of a report in Chromium: `python docs/report_picture.py outputs/sweeps/paper`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import chromium, open_page

if __name__ == "__main__":
    report = Path(sys.argv[1]).resolve() / "report.html"
    with chromium() as browser, open_page(browser, 1280, 800) as page:
        page.goto(report.as_uri())
        page.screenshot(path=Path(__file__).with_name("report.png"))
