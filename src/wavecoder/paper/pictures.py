"""The pictures of a report, each as files in `figures/` and inside the page, with a caption and a description."""

import base64
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from wavecoder.paper.claims import Job
from wavecoder.paper.figures import make_figures
from wavecoder.paper.summary import summary
from wavecoder.training.files import write_figure

PLANE = Path("figures", "plane.svg")
_PIXELS = 84  # an inch of a figure in report.html
_WIDE, _NARROW = 14.4, 4.25  # inches of the summary: for 1,216 pixels, and for a phone's 358


@dataclass(frozen=True)
class Picture:
    """A picture as the templates show it.

    Attributes:
        name: Of its files in `figures/`; empty if it is a job's own.
        caption: What it shows, in a line that no other picture has.
        alt: What it shows, for those who cannot see it.
        source: An SVG as a data URL.
        size: Width and height in pixels.
        files: Paths of its files, relative to the sweep's folder.
        narrow: Another source, for narrow screens, or empty.
        narrow_size: Its width and height.
    """

    name: str
    caption: str
    alt: str
    source: str
    size: tuple[int, int]
    files: Sequence[str]
    narrow: str = ""
    narrow_size: tuple[int, int] = field(default=(0, 0))


def summary_of(networks: Sequence[Job], folder: Path) -> Picture | None:
    """The picture that summarises all results; None if there are none."""
    wide, narrow = (summary(networks, columns, width) for columns, width in ((2, _WIDE), (1, _NARROW)))
    if wide is None or narrow is None:
        return None
    for name, figure in (("summary", wide), ("summary_narrow", narrow)):
        write_figure(folder / "figures", name, figure)
    caption = "Errors on new signals: a point for each seed, a stroke for the median over seeds, lines for the references"
    return Picture(
        "summary",
        caption,
        f"{caption}. Panels: {_panels(wide)}",
        _embedded(folder / "figures" / "summary.svg"),
        _size(wide),
        ["figures/summary.png", "figures/summary.svg"],
        _embedded(folder / "figures" / "summary_narrow.svg"),
        _size(narrow),
    )


def figures_of(networks: Sequence[Job], linear: Sequence[Job], folder: Path) -> list[Picture]:
    """All other figures."""
    made = []
    for name, figure in make_figures(networks, linear, folder):
        write_figure(folder / "figures", name, figure)
        title = (figure.get_suptitle() or figure.axes[0].get_title()).replace("\n", ". ").rstrip(".")
        made.append((name, title, _panels(figure), _size(figure)))
    used = Counter(title for _, title, *_ in made)
    pictures = []
    for name, title, panels, size in made:
        number = re.match(r"figure_(\d+)", name)
        caption = f"Figure {int(number[1])} of the paper: {title}" if number else title
        caption += f", {panels}" if used[title] > 1 else ""
        alt = f"{caption}. Panels: {panels}" if panels not in ("", title) and used[title] == 1 else caption
        files = [f"figures/{name}.png", f"figures/{name}.svg"]
        pictures.append(Picture(name, caption, alt, _embedded(folder / "figures" / f"{name}.svg"), size, files))
    return pictures


def planes_of(jobs: Iterable[Job], folder: Path) -> list[Picture]:
    """The example of three values, which its own run has drawn."""
    caption = "The example of paper 2.1: W has learned the plane of U₂, and reconstructions are projections onto it"
    pictures = []
    for job in jobs:
        file = folder / job["job"] / PLANE
        files = [f"{job['job']}/{PLANE.with_suffix(suffix).as_posix()}" for suffix in (".png", ".svg")]
        pictures.append(Picture("", caption, caption, _embedded(file), _size_of(file), files))
    return pictures


def _panels(figure: Figure) -> str:
    """The headings of its panels."""
    headings = (axis.get_title() or axis.get_title("left") for axis in figure.axes)
    return ", ".join(heading.partition("\n")[0] for heading in headings if heading)


def _size(figure: Figure) -> tuple[int, int]:
    width, height = figure.get_size_inches()
    return round(width * _PIXELS), round(height * _PIXELS)


def _size_of(file: Path) -> tuple[int, int]:
    """The size of an SVG, whose own unit is a point."""
    match = re.search(r'<svg[^>]*? height="(\d+\.?\d*)pt"[^>]*? width="(\d+\.?\d*)pt"', file.read_text("utf-8", "replace"))
    height, width = (float(points) / 72 * _PIXELS for points in match.groups()) if match else (540.0, 540.0)
    return round(width), round(height)


def _embedded(picture: Path) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(picture.read_bytes()).decode()
