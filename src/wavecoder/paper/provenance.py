"""Where the results of a report come from: settings, commands that repeat them, machines and versions, sources of chance."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wavecoder.paper.claims import Job
from wavecoder.runs import resolvers
from wavecoder.runs.hydra_files import read_config, read_overrides
from wavecoder.runs.settings import OF_SWEEPS
from wavecoder.runs.shapes import fits
from wavecoder.runs.targets import ALLOW_TARGETS, packages_in
from wavecoder.training.files import DamagedError, warn_once

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
_SOURCE = {"path": str, "provider": str}  # what Hydra notes of a folder of configuration
_OUTSIDE_SWEEPS = {"sweep": "null", "jobs_per_task": "1", "stack_seeds": "false", "detach": "false"}
"""What a single run must have where a sweep may have something else."""


def _config(job: Path, name: str = "config") -> DictConfig:
    """The composed configuration of a job, or Hydra's own; empty if its folder has none, or it is damaged."""
    try:
        return read_config(job, name)
    except (FileNotFoundError, DamagedError):
        return OmegaConf.create()


def damaged_files(job: Path) -> list[str]:
    """What is wrong with files of a job that its part of the report is made from, a sentence for each."""
    said = []
    readers = (partial(read_config, job), partial(read_config, job, "hydra"), partial(read_overrides, job))
    for read in readers:
        try:
            read()
        except FileNotFoundError:
            continue
        except DamagedError as error:
            warn_once(f"{error}; the report lacks what it would say from it")
            said.append(f"{str(error).removeprefix(f'{job}/')}: the report lacks what it would say from it")
    return said


def choices_of(jobs: Iterable[Job], folder: Path) -> dict[str, str]:
    """What the paper leaves open and the jobs chose; several choices if they differ."""
    resolvers.register()  # the configurations use them
    chosen: dict[str, set[str]] = {name: set() for name in _CHOICES}
    for job in jobs:
        config = _config(folder / job["job"])
        for name, keys in _CHOICES.items():
            found = [OmegaConf.select(config, key, throw_on_resolution_failure=False) for key in keys]
            if any(value is not None for value in found):
                chosen[name].add(", ".join(_as_words(value) for value in found if value is not None))
    return {name: " / ".join(sorted(values)) for name, values in chosen.items() if values}


def _as_words(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def command_of(job: Path, file: str | None) -> str:
    """The command that runs a job by itself, outside its sweep, in any folder; nothing if what it chose is not known.

    Args:
        job: The job's folder.
        file: The file that its signals come from, if they do.
    """
    try:
        overrides = read_overrides(job)
    except (FileNotFoundError, DamagedError):
        return ""
    kept = [override for override in overrides if override.partition("=")[0].lstrip("+~") not in OF_SWEEPS]
    config = _config(job)
    for key, single in _OUTSIDE_SWEEPS.items():  # an experiment may have named a sweep
        if str(OmegaConf.select(config, key, default=single, throw_on_resolution_failure=False)).lower() not in (
            single,
            "none" if single == "null" else single,
        ):
            kept.append(f"{key}={single}")
    with suppress(OmegaConfBaseException):  # as of a damaged configuration
        if packages := packages_in(config):  # which whoever types it allows, not the file
            kept.append(f"{ALLOW_TARGETS}=[{','.join(packages)}]")
    if file is not None:  # relative to where the sweep was started
        kept = [override for override in kept if not override.startswith("data.path=")] + [f"data.path={_quoted(file)}"]
    # the command line quotes whole numbers that name an option, so they need no quotes here
    plain = [re.sub(r"^([\w/]+)='(\d+)'$", r"\1=\2", override) for override in kept]
    sources = OmegaConf.select(_config(job, "hydra"), "hydra.runtime.config_sources", throw_on_resolution_failure=False)
    named: Any = OmegaConf.to_container(sources) if isinstance(sources, ListConfig) else None
    of_command = [each for each in named if each["provider"] == "command-line"] if fits(named, [_SOURCE]) else []
    folders = [f"--config-dir={each['path']}" for each in of_command]
    return shlex.join(["wavecoder", "train", *folders, *plain])


def _quoted(path: str) -> str:
    """A path as Hydra's command line reads it."""
    if re.fullmatch(r"[\w./+-]+", path):
        return path
    escaped = path.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def origins_of(jobs: Sequence[Job]) -> dict[str, str]:
    """When, where and by what the jobs were trained, as a table; several values if they differ."""
    origins = [job["origin"] for job in jobs if "origin" in job]
    finished = sorted({origin["finished"][:16].replace("T", " ") for origin in origins})
    hosts = _joined(job["place"]["host"] for job in jobs if "place" in job)
    machines = _joined(", ".join(origin[key] for key in ("machine", "gpu") if key in origin) for origin in origins)
    found = {
        "finished": f"{finished[-1]} (UTC)" if finished else "",  # the last of them
        "commit": _joined(origin["commit"] for origin in origins if "commit" in origin),
        "machine": machines + (f" ({hosts})" if hosts and machines else hosts),
        "engine": _joined(job["engine"]["name"] for job in jobs),
    }
    packages = dict.fromkeys(name for job in jobs for name in job["versions"])
    found |= {name: _joined(job["versions"][name] for job in jobs if name in job["versions"]) for name in packages}
    return {name: value for name, value in found.items() if value}


def _joined(values: Iterable[str]) -> str:
    return " / ".join(sorted(set(values)))


def chance_of(jobs: Sequence[Job]) -> list[str]:
    """Sentences on what seeds differ in, how often the sine is measured, what references are fitted to, and on engines."""
    sentences = [*_shared_signals(jobs)]
    draws = {job["noise"].get("draws", 1) for job in jobs if any(metric.startswith("sine/") for metric in job["metrics"])}
    if max(draws, default=1) > 1:
        counted = " to ".join(str(count) for count in dict.fromkeys((min(draws), max(draws))))
        sentences.append(
            f"Errors on the noisy sine are means over {counted} draws of its noisy copies; figures show the first draw."
        )
    counts = Counter(job["engine"]["name"] for job in jobs)
    if len(counts) > 1:
        named = " and ".join(f"{count} by the {name} engine" for name, count in sorted(counts.items()))
        sentences.append(f"Runs were trained by different engines, whose results agree up to rounding only: {named}.")
    sentences += [_BASES[basis] for basis in sorted({job["basis"] for job in jobs if job.get("basis") and job["references"]})]
    return sentences


_BASES = {
    "fitted": "SVD, PCA and Wiener filter are fitted to the training signals.",
    "population": "In tables and figures SVD, PCA and Wiener filter use the exact moments of the population, no training set's.",
}


def is_fresh(job: Job) -> bool:
    """Whether each of a job's batches had new signals; of runs whose record says nothing of it, by what was chosen."""
    chosen = job["overrides"]
    return (
        bool(job["fresh"])
        if "fresh" in job
        else chosen.get("data.fresh", "false").lower() == "true" or chosen.get("data") == "fresh"
    )


def _shared_signals(jobs: Sequence[Job]) -> Iterable[str]:
    fresh, jobs = [job for job in jobs if is_fresh(job)], [job for job in jobs if not is_fresh(job)]
    if fresh:
        yield "With data.fresh=true each seed draws new training signals in every batch."
    seeds: Mapping[bool, int] = {
        own: max((job["num_seeds"] for job in jobs if bool(job.get("per_seed")) == own), default=0) for own in (True, False)
    }
    if seeds[True] > 1:
        yield (
            "Seeds differ in training set, noise, initial weights and order of batches; intervals over seeds cover these, and "
            "validation signals are the same for all."
        )
    if seeds[False] > 1:
        drawn = {job.get("data_seed") for job in jobs}
        shared = "Seeds of a run differ in initial weights and order of batches, and share training set and noise"
        of_one = "intervals over seeds do not cover another training set or other noise"
        yield f"{shared}: " + (f"{len(drawn)} values of data.seed vary these too." if len(drawn) > 1 else f"{of_one}.")
