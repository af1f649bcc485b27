"""Jobs that differ in their seeds alone, trained as one ensemble: what it leaves is divided among the folders of the jobs."""

import logging
import math
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from omegaconf import OmegaConf

from wavecoder.runs import results
from wavecoder.runs.fingerprints import FINGERPRINT, known_fingerprints
from wavecoder.runs.job import RUN_FILES, RUN_FOLDERS, TRACEBACK
from wavecoder.runs.kinds import set_aside_wrong_kinds
from wavecoder.runs.plan import Composer, Job, without_hydra
from wavecoder.training.checkpoints import read_checkpoint, write_checkpoint
from wavecoder.training.files import ARRAYS, DamagedError, read_arrays, write_arrays, write_atomically

_OF_MEMBERS = ("autoencoder_", "latent", "decoded", "draws_")  # arrays with an axis of members begin so; this one does not:
_COMMON = "latent_r"

log = logging.getLogger(__name__)


def split_stack(sweep: Path, stack: Job, composer: Composer) -> None:
    """Give each job of a stack a folder as if it had run alone: configuration, record, arrays and checkpoints.

    Figures, curves and the log stay in the ensemble's folder, which the records name as `stacked_in`. A job whose seed diverged
    has a record alone. If the ensemble has failed, its record and its traceback are passed on to the jobs; nothing is done before
    it has ended.

    Args:
        sweep: The sweep's folder.
        stack: The ensemble.
        composer: Composes the configurations of its jobs.
    """
    with FileLock(sweep / stack.name / ".lock"):  # a command that is run again may find a division that is still being made
        _split(sweep, stack, composer)


def _split(sweep: Path, stack: Job, composer: Composer) -> None:
    whole = results.read_record(sweep / stack.name)
    if not results.has_ended(whole, stack.fingerprint):
        _pass_on_failure(sweep, stack, whole)
        return
    arrays, checkpoints = read_arrays(sweep / stack.name, whole["num_seeds"]), _read_checkpoints(sweep / stack.name)
    for number, job in enumerate(stack.stacked):
        folder, place = sweep / job.name, os.path.relpath(sweep / stack.name, sweep / job.name)
        if results.has_ended(results.read_record(folder), job.fingerprint):
            continue
        config = composer.compose(job.overrides)
        _make_folder(sweep, job)
        _remove_files(folder)
        (folder / ".hydra").mkdir(exist_ok=True)
        own = {"config": without_hydra(config), "hydra": OmegaConf.masked_copy(config, "hydra")}
        for name, part in own.items():
            write_atomically(folder / ".hydra" / f"{name}.yaml", OmegaConf.to_yaml(part))
        write_atomically(folder / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(list(job.overrides)))
        if (record := diverged_record(whole, job, number, place)) is not None:
            results.write_results(folder, record)
            continue
        if arrays is not None:
            write_arrays(folder, {name: _of_member(name, values, number) for name, values in arrays.items()})
        for file, content in checkpoints.items():
            _write_checkpoint(folder / file, content, number)
        results.write_results(folder, member_record(whole, job, number, place))
    log.info("%s: divided among the folders of its %d jobs", stack.name, len(stack.stacked))


def member_record(whole: Mapping[str, Any], job: Job, number: int, stacked_in: str) -> dict[str, Any]:
    """The record of one job of a stack, from the ensemble's.

    Times are its share of the ensemble's.
    """
    members = len(job.stacked) or whole["num_seeds"]

    def of_member(summary: Mapping[str, Any]) -> dict[str, Any]:
        value = summary["per_seed"][number]
        return results.summarise([math.nan if value is None else value])

    metrics = {metric: of_member(summary) for metric, summary in whole["metrics"].items()}
    dead = {"dead": [seed]} if (seed := whole["seed"] + number) in whole.get("dead", ()) else {}
    timing = whole["timing"] | {key: whole["timing"][key] / members for key in ("fit_seconds", "signals_per_second")}
    own = {"seed": seed, "num_seeds": 1, "metrics": metrics, "timing": timing, "stacked_in": stacked_in} | dead
    if "subspace" in whole:
        curves = {name: [[row[number]] for row in rows] for name, rows in whole["subspace"].items() if name != "steps"}
        own["subspace"] = {"steps": whole["subspace"]["steps"]} | curves
    kept = {key: value for key, value in whole.items() if key not in ("diverged", "dead")}
    return kept | own | {"config_fingerprint": job.fingerprint, "overrides": results.as_choices(job.overrides)}


def diverged_record(whole: Mapping[str, Any], job: Job, number: int, stacked_in: str) -> dict[str, Any] | None:
    """The record of a job of a stack whose seed diverged, as of a run that was stopped; None if it did not."""
    seed = whole["seed"] + number
    if (step := whole.get("diverged", {}).get(str(seed))) is None:
        return None
    return {
        "status": "diverged",
        "error": f"seed {seed} diverged at step {step:,}",
        "diverged": {str(seed): step},
        "seed": seed,
        "num_seeds": 1,
        "config_fingerprint": job.fingerprint,
        "overrides": results.as_choices(job.overrides),
        "place": whole.get("place", {}),
        "stacked_in": stacked_in,
    }


def _pass_on_failure(sweep: Path, stack: Job, whole: Mapping[str, Any]) -> None:
    if whole["status"] != "failed":
        return
    for job in stack.stacked:
        folder = sweep / job.name
        before = results.read_record(folder)
        if results.has_ended(before, job.fingerprint):
            continue
        _make_folder(sweep, job)
        if job.fingerprint not in known_fingerprints(folder, before):
            _remove_files(folder)
        with suppress(FileNotFoundError):  # the disk was full
            shutil.copy(sweep / stack.name / TRACEBACK, folder / TRACEBACK)
        failed = dict(whole) | {"config_fingerprint": job.fingerprint, "overrides": results.as_choices(job.overrides)}
        results.write_results(folder, failed)


def _remove_files(folder: Path) -> None:
    """Remove what a job of another configuration has left in a folder, but for its record, which is written last."""
    for name in RUN_FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (FINGERPRINT, ARRAYS):
        (folder / name).unlink(missing_ok=True)


def _make_folder(sweep: Path, job: Job) -> None:
    """Make the folder of a job, and set aside what is of the wrong kind in its place or in it."""
    set_aside_wrong_kinds(sweep, (), (job.name,))
    (sweep / job.name).mkdir(exist_ok=True)
    set_aside_wrong_kinds(sweep / job.name, RUN_FILES, (*RUN_FOLDERS, ".hydra"))


def _of_member(name: str, values: Any, number: int) -> Any:
    if name == "shown":
        return 0
    return values[number : number + 1] if name.startswith(_OF_MEMBERS) and name != _COMMON else values


def _read_checkpoints(stack: Path) -> dict[Path, dict[str, Any]]:
    """The checkpoints of an ensemble, by their paths in its folder; a damaged one is named and left out."""
    checkpoints = {}
    for file in (results.LAST_CHECKPOINT, results.BEST_CHECKPOINT):
        if (stack / file).exists():
            try:
                checkpoints[file] = read_checkpoint(stack / file)
            except DamagedError as error:
                log.warning("%s; the jobs have none", error)
    return checkpoints


def _write_checkpoint(file: Path, content: dict[str, Any], number: int) -> None:
    """Write a checkpoint of one member, as its own run would have written it; what is best is so by the mean over members."""
    import torch

    def of_optimizer(state: dict[str, Any]) -> dict[str, Any]:
        return {
            name: values[number : number + 1].clone() if isinstance(values, torch.Tensor) and values.dim() > 0 else values
            for name, values in state.items()
        }

    optimizers = [
        optimizer | {"state": {key: of_optimizer(state) for key, state in optimizer["state"].items()}}
        for optimizer in content.get("optimizer_states", ())
    ]
    weights = {name: values[number].clone() for name, values in content["state_dict"].items()}
    own = (
        content
        | {"state_dict": weights, "divergence": {"steps": {}}}
        | ({"optimizer_states": optimizers} if "optimizer_states" in content else {})
    )
    write_checkpoint(own, file)
