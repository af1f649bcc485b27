"""The report of a sweep: report.html, one self-contained file, and report.md, with the figures in `figures/`.

Everything in it is read from the folders of the jobs, so a sweep that is not complete has a report too, which names the gaps.
"""

import base64
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from wavecoder.paper.claims import Job, PaperRuns
from wavecoder.paper.figures import make_figures
from wavecoder.paper.tables import describe_references, in_order, make_tables
from wavecoder.paper.verdicts import judge_all
from wavecoder.runs import resolvers
from wavecoder.runs.settings import SettingError
from wavecoder.runs.store import read_sweep
from wavecoder.subspace import LABELS
from wavecoder.training.files import write_atomically, write_figure

_CHOICES = {
    "activation on the latent too": ["model.latent_activation"],
    "biases": ["model.bias"],
    "optimiser, learning rate": ["optimizer._target_", "optimizer.lr"],
    "signals in a batch": ["data.batch_size"],
    "epochs": ["trainer.max_epochs"],
    "loss": ["loss._target_"],
    "standard deviation of noise added while training": ["noise.train_std"],
    "standard deviation of r": ["data.sigma"],
}
"""Keys of the configuration that answer what the paper leaves open."""
_PLANE = Path("figures", "plane.svg")
_PIXELS = 84  # an inch of a figure in report.html


def write_report(folder: Path) -> Path:
    """Write `report.html`, `report.md` and `figures/` into a sweep's folder and return the path of the first.

    Raises:
        SettingError: There is no such folder, it has no jobs, or all were written by earlier versions.
    """
    jobs = _read(folder)
    completed = in_order(job for job in jobs if job["status"] == "completed")
    networks = [job for job in completed if "subspace" not in job]
    planes = [job for job in completed if (folder / job["job"] / _PLANE).exists()]
    linear = [job for job in completed if "subspace" in job and job not in planes]
    linear.sort(key=lambda job: (job["model"] != "linear_tied", job["latent_dim"], job["job"]))
    runs = PaperRuns([job for job in jobs if job not in planes], folder)
    content = {
        "sweep": folder.name,
        "jobs": completed,
        "engines": _engines(completed),
        "failed": [job for job in jobs if job["status"] != "completed"],
        "missing": runs.missing() if runs.networks else [],
        "seeds": max((job["num_seeds"] for job in networks), default=0),
        "minutes": sum(job["timing"]["fit_seconds"] for job in completed) / 60,
        "tables": make_tables(networks),
        "references": describe_references(networks),
        "verdicts": [verdict for claim in judge_all(runs) for verdict in claim.parts if runs.networks or verdict.seeds],
        "linear": linear,
        "distances": LABELS,
        "figures": [_keep(folder, *each) for each in make_figures(networks, linear, folder)],
        "planes": [_embedded(folder / job["job"] / _PLANE) for job in planes],
        "choices": _choices(networks, folder),
        "commands": [_command(folder / job["job"]) for job in completed],
        "versions": completed[0]["versions"] if completed else {},
    }
    templates = Environment(
        loader=PackageLoader("wavecoder.paper"), autoescape=_is_html, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters |= {"number": number, "percent": "{:.0%}".format}
    for kind in ("md", "html"):
        write_atomically(folder / f"report.{kind}", templates.get_template(f"report.{kind}.j2").render(content))
    return folder / "report.html"


def _is_html(template: str | None) -> bool:
    return template is not None and template.endswith(".html.j2")


def _read(folder: Path) -> list[dict[str, Any]]:
    if not folder.is_dir():
        raise SettingError(f"{folder}: there is no such folder")
    jobs = read_sweep(folder)
    if not jobs:
        raise SettingError(f"{folder}: there are no jobs of a sweep in it")
    if all(job["status"] == "outdated" for job in jobs):
        raise SettingError(f"{folder}: no job can be read: {jobs[0]['error']}")
    return jobs


def number(value: float | None) -> str:
    """Three significant digits, as people write them."""
    if value is None or not np.isfinite(value):
        return "–"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}·10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def _engines(jobs: Sequence[Job]) -> str:
    """A sentence about the engines that trained the jobs, if there were several."""
    counts = Counter(job["engine"]["name"] for job in jobs)
    if len(counts) < 2:
        return ""
    named = " and ".join(f"{count} by the {name} engine" for name, count in sorted(counts.items()))
    return f"The runs were trained by different engines, whose results agree up to rounding only: {named}."


def _keep(folder: Path, name: str, figure: Figure) -> dict[str, Any]:
    """Write a figure as PNG and SVG, and give the templates its name and title, and its picture as a data URL."""
    write_figure(folder / "figures", name, figure)
    title = figure.get_suptitle() or figure.axes[0].get_title()
    width = round(figure.get_figwidth() * _PIXELS)
    return {"name": name, "title": title, "width": width, "picture": _embedded(folder / "figures" / f"{name}.svg")}


def _embedded(picture: Path) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(picture.read_bytes()).decode()


def _config(job: Path) -> DictConfig:
    """The composed configuration of a job, empty if its folder has none."""
    file = job / ".hydra" / "config.yaml"
    config = OmegaConf.load(file) if file.exists() else OmegaConf.create()
    assert isinstance(config, DictConfig)
    return config


def _choices(jobs: Sequence[Job], folder: Path) -> dict[str, str]:
    """What the paper leaves open and the jobs chose; several choices if they differ."""
    resolvers.register()  # the configurations use them
    chosen: dict[str, set[str]] = {name: set() for name in _CHOICES}
    for job in jobs:
        config = _config(folder / job["job"])
        for name, keys in _CHOICES.items():
            found = [OmegaConf.select(config, key, throw_on_resolution_failure=False) for key in keys]
            if any(value is not None for value in found):
                chosen[name].add(", ".join(str(value) for value in found if value is not None))
    return {name: " / ".join(sorted(values)) for name, values in chosen.items() if values}


def _command(job: Path) -> str:
    """The command that runs a job by itself, outside its sweep."""
    file = job / ".hydra" / "overrides.yaml"
    given = [str(override) for override in OmegaConf.load(file)] if file.exists() else []
    kept = [override for override in given if override.partition("=")[0].lstrip("+~") != "sweep"]
    if kept == given and _config(job).get("sweep") is not None:
        kept.append("sweep=null")  # an experiment named the sweep
    # the command line quotes whole numbers that name an option, so they need no quotes here
    plain = [re.sub(r"^([\w/]+)='(\d+)'$", r"\1=\2", override) for override in kept]
    return shlex.join(["python", "src/train.py", *plain])
