"""The report of a sweep: report.html, one file to be read in a browser, and report.md, with the figures in `figures/`.

Everything in it is read from the folders of the jobs, so a sweep that is not complete has a report too, which names the gaps.
A plotting library with interaction is not worth a megabyte here: a little JavaScript sorts tables, and browsers enlarge SVG.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from wavecoder.paper.claims import Job, PaperRuns
from wavecoder.paper.effects import choices_made, effects_of
from wavecoder.paper.escaping import as_code, as_html, as_line, as_markdown
from wavecoder.paper.judging import WORDS, percent
from wavecoder.paper.numbers import number
from wavecoder.paper.pictures import PLANE, figures_of, planes_of, summary_of
from wavecoder.paper.provenance import chance_of, choices_of, command_of, damaged_files, origins_of
from wavecoder.paper.ranking import rankings
from wavecoder.paper.summary import heading_of, summary_metrics
from wavecoder.paper.tables import as_in_the_paper, describe_references, in_order, labels_of, make_tables, title_of
from wavecoder.paper.variance import SOURCES, components, describe_design
from wavecoder.paper.verdicts import judge_all
from wavecoder.runs.kinds import set_aside_wrong_kinds
from wavecoder.runs.limits import SettingError
from wavecoder.runs.results import RESULTS, dead, diverged_seeds, problem
from wavecoder.runs.store import read_sweep
from wavecoder.subspace import LABELS
from wavecoder.training.files import ARRAYS, read_arrays, warn_once, write_atomically

_EXPERIMENTS = ("paper", "theorem")
"""The experiments whose networks the paper's claims are about."""
_PAPERS_CHOICES = {"activation", "latent", "latent.dim", "model", "model.bias"}
"""What the paper varies; of a sweep of anything else a network has several runs, and none of them is the paper's."""


def write_report(folder: Path) -> Path:
    """Write `report.html`, `report.md` and `figures/` into a sweep's folder and return the path of the first.

    Raises:
        SettingError: There is no such folder, it has no jobs, or all were written by earlier versions.
    """
    jobs = _read(folder)
    set_aside_wrong_kinds(folder, ("report.html", "report.md"), ("figures",))
    completed = in_order(job for job in jobs if job["status"] == "completed")
    planes = [job for job in completed if (folder / job["job"] / PLANE).is_file()]
    networks = [job for job in completed if "subspace" not in job]
    linear = [job for job in completed if "subspace" in job and job not in planes and not _lacking(job)]
    linear.sort(key=lambda job: (job["model"] != "linear_tied", job["latent_dim"], job["job"]))
    found = components(networks, folder)
    commands = {job["job"]: command_of(folder / job["job"], job.get("file")) for job in completed}
    content = {
        "sweep": folder.name,
        "jobs": completed,
        "file": next((job["file"] for job in completed if "file" in job), None),
        "seeds": max((job["num_seeds"] for job in networks), default=0),
        "duration": _duration(sum(job["timing"]["fit_seconds"] for job in completed)),
        **_judged(PaperRuns([job for job in jobs if job not in planes], folder), networks, linear),
        "gaps": _gaps(jobs, folder),
        "chance": chance_of(networks),
        "components": found,
        "design": describe_design(found),
        "rankings": rankings(networks, folder),
        "sources": SOURCES,
        "tables": make_tables(networks),
        "references": describe_references(networks),
        "linear": linear,
        "labels": labels_of(linear),
        "distances": LABELS,
        "summary": summary_of(as_in_the_paper(networks), folder),
        "figures": figures_of(networks, linear, folder),
        "planes": planes_of(planes, folder),
        "choices": choices_of(networks, folder),
        "commands": {name: command for name, command in commands.items() if command},
        "origins": origins_of(completed),
    }
    for kind, shown in {"md": as_markdown, "html": as_html}.items():
        templates = Environment(
            loader=PackageLoader("wavecoder.paper"),
            autoescape=kind == "html",
            finalize=shown,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        templates.filters |= {"number": number, "percent": percent, "title_of": title_of, "address": quote}
        templates.filters |= {"code": as_code, "line": as_line}
        write_atomically(folder / f"report.{kind}", templates.get_template(f"report.{kind}.j2").render(content))
    return folder / "report.html"


def _read(folder: Path) -> list[dict[str, Any]]:
    if not folder.is_dir():
        raise SettingError(f"{folder}: there is no such folder")
    jobs = read_sweep(folder)
    if not jobs:
        raise SettingError(f"{folder}: there are no jobs of a sweep in it")
    if all(job["status"] == "outdated" for job in jobs):
        raise SettingError(f"{folder}: no job can be read: {jobs[0]['error']}")
    return jobs


def _judged(runs: PaperRuns, networks: Sequence[Job], linear: Sequence[Job]) -> dict[str, Any]:
    """The verdicts on the paper's claims if the sweep is the paper's, or else what it varied."""
    chosen = {job["overrides"].get("experiment") for job in (*networks, *linear)}
    once = choices_made(as_in_the_paper(networks)).keys() <= _PAPERS_CHOICES
    is_papers = not chosen.isdisjoint(_EXPERIMENTS) or (once and not runs.missing())
    claims = judge_all(runs) if is_papers else []
    metrics = dict.fromkeys(["val/mse", *summary_metrics(networks)])
    return {
        "claims": [claim for claim in claims if claim.worst.seeds],
        "open": [claim for claim in claims if not claim.worst.seeds],
        "missing": runs.missing() if is_papers and runs.networks else [],
        "covered": runs.chance(),
        "words": WORDS,
        "varied": {} if is_papers else choices_made(networks),
        "effects": [] if is_papers or not networks else effects_of(networks, list(metrics)),
        "metrics": {metric: heading_of(metric) for metric in metrics},
    }


def _duration(seconds: float) -> str:
    return f"{number(seconds)} seconds" if seconds < 100 else f"{number(seconds / 60)} minutes"


def _gaps(jobs: Sequence[Job], folder: Path) -> list[tuple[str, str]]:
    """The jobs without results, those of which seeds diverged or are dead, and damaged files, with what is wrong."""
    gaps = []
    for job in jobs:
        if job["status"] != "completed":
            gaps.append((job["job"], problem(job)))
        elif diverged := max(each["per_seed"].count(None) for each in job["metrics"].values()):
            which = diverged_seeds(job)
            gaps.append((job["job"], f"diverged in {diverged} of {job['num_seeds']} seeds" + (f": {which}" if which else "")))
        if constant := dead(job):
            gaps.append((job["job"], constant))
        if job["status"] != "completed":
            continue
        if (folder / job["job"] / ARRAYS).exists() and read_arrays(folder / job["job"], job["num_seeds"]) is None:
            gaps.append((job["job"], f"{ARRAYS} is damaged: figures, and what is judged from curves, lack it"))
        if lacking := _lacking(job):
            said = f"{RESULTS} lacks {lacking}: the job is left out of what needs that"
            warn_once(f"{folder / job['job']}: {said}")
            gaps.append((job["job"], said))
        gaps += [(job["job"], said) for said in damaged_files(folder / job["job"])]
    return gaps


def _lacking(job: Job) -> str:
    """What the record of a completed job lacks, in words; records of its kind have it, unless they are damaged."""
    needed = [*(["data_seed"] if "per_seed" in job else []), *(LABELS if "subspace" in job else [])]
    return ", ".join(name for name in needed if name not in job and name not in job["metrics"])
