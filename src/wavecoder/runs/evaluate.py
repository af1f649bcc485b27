"""`wavecoder evaluate`: runs measured again, side by side in one table, with figures and a file of all numbers."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console

from wavecoder.families import FAMILIES
from wavecoder.runs import results, tables
from wavecoder.runs.limits import MOST_NOISE, SettingError
from wavecoder.runs.load import load
from wavecoder.runs.measure import Measured, Wanted
from wavecoder.runs.screen import say
from wavecoder.runs.threads import torch_threads
from wavecoder.signals import Prior
from wavecoder.training.files import write_atomically, write_figure

EVALUATION = "evaluation.json"


def evaluate(folders: Sequence[Path], wanted: Wanted, output: Path | None = None, device: str = "cpu") -> Path:
    """Measure trained runs, print one table, and write figures and `evaluation.json`.

    Args:
        folders: Folders of runs; for a sweep's its best job is taken.
        wanted: How they shall be measured.
        output: Where to write; None for a new folder in `outputs/evaluations/`.
        device: Where to compute.

    Returns:
        The folder written.

    Raises:
        SettingError: A run cannot be loaded, or not be measured so; or the output exists.
    """
    output = output or Path("outputs", "evaluations", f"{datetime.now():%Y-%m-%d/%H-%M-%S}_{token_hex(3)}")
    _check(wanted)
    _check_output(output)
    models = [load(folder, "all", device) for folder in folders]
    torch.set_num_threads(torch_threads(models[0].settings))
    if wanted.noise is None:  # all at the same levels
        levels = dict.fromkeys(std for model in models for std in model.settings.noise.eval_std)
        wanted = replace(wanted, noise=list(levels))
    measured = {name: Measured(model, wanted) for name, model in zip(_names(len(models)), models, strict=True)}
    _write(output, measured, wanted, device)
    _print(measured, output)
    return output


def _names(count: int) -> list[str]:
    """Short names of runs for a table: A, B, …, Z, AA, AB and so on."""
    letters = [chr(ord("A") + number) for number in range(26)]
    return [*letters, *(first + second for first in letters for second in letters)][:count]


def _check(wanted: Wanted) -> None:
    """Refuse what no run can be measured with.

    Raises:
        SettingError: It is out of its limits.
    """
    noise, families, sigma, seed = wanted.noise, wanted.families, wanted.sigma, wanted.data_seed
    if noise is not None and (len(set(noise)) < len(noise) or not all(0 < std <= MOST_NOISE for std in noise)):
        needed = f"numbers above 0, at most {MOST_NOISE:g}, different from one another"
        raise SettingError(f"--noise={','.join(map(str, noise))}: must be {needed}")
    if families is not None and (len(set(families)) < len(families) or not set(families) <= set(FAMILIES)):
        raise SettingError(f"--families={','.join(families)}: must be among {', '.join(FAMILIES)}, different from one another")
    if sigma is not None and not 0 < sigma < float("inf"):
        raise SettingError(f"--sigma={sigma}: must be above 0")
    if seed is not None and seed < 0:
        raise SettingError(f"--data-seed={seed}: must be 0 or more")


def _check_output(output: Path) -> None:
    """Refuse a folder that could not be written, before anything is measured.

    Raises:
        SettingError: It has content, or is no folder, or cannot be made.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise SettingError(f"--output={output}: exists; must be a new folder, or an empty one")
    parent = next(path for path in output.absolute().parents if path.exists())
    try:
        with TemporaryDirectory(prefix=f".{output.name}.", dir=parent):
            pass
    except OSError as error:
        raise SettingError(f"--output={output}: cannot be made in {parent}; must be in a folder that can be written") from error


def _write(output: Path, measured: Mapping[str, Measured], wanted: Wanted, device: str) -> None:
    """Write the folder completely or not at all."""
    figures = {name: list(each.figures()) for name, each in measured.items()}
    made = [path for path in output.absolute().parents if not path.exists()]
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{token_hex(4)}")
    try:
        temporary.mkdir()
        runs = [{"name": name, **_described(each)} for name, each in measured.items()]
        content = {"settings": asdict(wanted) | {"device": device}, "runs": runs, "versions": results.versions()}
        write_atomically(temporary / EVALUATION, json.dumps(content, indent=2, allow_nan=False) + "\n")
        for name, of_run in figures.items():
            (temporary / "figures").mkdir(exist_ok=True)
            folder = temporary / "figures" / name if len(figures) > 1 else temporary / "figures"
            for title, figure in of_run:
                write_figure(folder, title, figure)
        temporary.rename(output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for path in made:
            with suppress(OSError):  # another process may use it by now
                path.rmdir()
        raise


def _described(measured: Measured) -> dict[str, Any]:
    model, source = measured.model, measured.source
    described: dict[str, Any] = {"folder": str(model.folder.absolute())}
    described |= {"weights": model.weights, "data_seed": measured.data_seed}
    prior = source.prior("cpu")
    if prior is not None:
        described |= {"families": list(prior.families), "sigma": prior.sigma}
    return described | measured.record


def _print(measured: Mapping[str, Measured], output: Path) -> None:
    console = Console()
    first = next(iter(measured.values()))
    if len(measured) == 1:
        title = f"{_network(first)}: mean squared error per value"
        tables.print_errors(console, first.record, title)
    else:
        title = "mean squared error per value" + (", mean ± std over seeds" if first.record["num_seeds"] > 1 else "")
        tables.comparison_table({name: each.record for name, each in measured.items()}, title).print(console)
    for name, each in measured.items():
        prefix = f"{name}  {_network(each)}: " if len(measured) > 1 else "the run: "
        say(console, f"{prefix}{os.path.relpath(each.model.folder)}")
    for note in _notes(measured):
        say(console, note)
    say(console, f"Everything about this evaluation is in {os.path.relpath(output)}")


def _network(measured: Measured) -> str:
    record = measured.record
    seeds = "1 seed" if record["num_seeds"] == 1 else f"{record['num_seeds']} seeds"
    return f"{record['network']} autoencoder, latent {record['latent_dim']}, {seeds}"


def _notes(measured: Mapping[str, Measured]) -> list[str]:
    """What has to be known to read the table, one sentence each."""
    sentences: dict[str, list[str]] = {}  # and the runs that they are about
    for name, each in measured.items():
        for sentence in _sentences(each):
            sentences.setdefault(sentence, []).append(name)
    return [
        sentence if len(names) == len(measured) else f"{', '.join(names)}: {sentence}" for sentence, names in sentences.items()
    ]


def _sentences(measured: Measured) -> Iterator[str]:
    prior, trained = measured.source.prior("cpu"), measured.training.prior("cpu")
    if prior is not None and trained is not None:
        yield f"val and sine are measured on signals of {_drawn(prior)}; data seed {measured.data_seed}."
        if _drawn(prior) != _drawn(trained):
            yield f"The training had other signals: {_drawn(trained)}."
    else:
        scaling = measured.model.scaling.kind
        scaled = "" if scaling == "none" else f", and all errors are of scaled values (data.scaling={scaling})"
        yield f"val is measured on the validation signals of the run's file{scaled}."
    knows = "; Bayes knows the distribution that is measured" if prior is not None else ""
    own = "each seed's own training signals" if measured.model.settings.data.per_seed else "the run's own training signals"
    exact = "SVD, PCA and Wiener have the exact moments of all signals of their kind"
    fitted = exact if measured.model.settings.basis == "population" else "SVD, PCA and Wiener are fitted to them"
    yield f"train/mse is on {own}; {fitted}{knows}."
    if measured.model.weights == "best":
        yield "The run has its best weights only (as with callbacks=lean), which are not those that its own results are about."


def _drawn(prior: Prior) -> str:
    return f"families {', '.join(prior.families)}; σ = {prior.sigma:g}"
