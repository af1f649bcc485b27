"""A run's files for TensorBoard: curves with the errors first, a layout of charts, pictures, settings, points of the latent."""

import io
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from typing import Any

from jaxtyping import Float
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from numpy import ndarray
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread  # type: ignore[import-untyped]
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from wavecoder.training.files import write_atomically

log = logging.getLogger(__name__)


def _keeping_errors(run: Callable[[_AsyncWriterThread], None]) -> Callable[[_AsyncWriterThread], None]:
    """Let TensorBoard's thread keep to itself that a file cannot be written: the next write raises it in the run's own thread."""

    @wraps(run)
    def run_quietly(thread: _AsyncWriterThread) -> None:
        with suppress(OSError):
            run(thread)

    return run_quietly


_AsyncWriterThread.run = _keeping_errors(_AsyncWriterThread.run)
_COLOURS = 64  # of a picture: enough for lines and their smooth edges, and a third of the bytes
_DIGITS = 4  # of a coordinate in the projector
_LEAST_DIMENSIONS = 3  # the projector's view turns in space


class TensorBoardCurves(TensorBoardLogger):
    """Lightning's logger for TensorBoard, whose tags are such that the errors come first and the pictures last (see `tag_of`).

    With the first errors it writes a layout for the tab *Custom Scalars* (see `layout`). Arguments are Lightning's.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_laid_out = False
        self._is_resumed = False
        self._steps: dict[str, int] = {}
        self._owner = ""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: names and sizes of the files of events, with what was logged, and each curve's last step."""
        self.experiment.flush()
        sizes = {file.name: file.stat().st_size for file in self._event_files()}
        return {"sizes": sizes, "is_laid_out": self._is_laid_out, "steps": dict(self._steps)}

    @rank_zero_only
    def resume(self, state: Mapping[str, Any] | None, run: Path) -> None:
        """Take away what was logged since a checkpoint, so that nothing is there twice when it is logged again.

        Called before anything is logged. Lines of references stay: they are over the whole run.

        Args:
            state: What `state` gave at the checkpoint; None if the run starts from the beginning.
            run: The run's folder. If its curves are elsewhere, others' may be there too, and names of files tell whose they are.
        """
        if not Path(self.log_dir).resolve().is_relative_to(run.resolve()):
            self._owner = f".{blake2b(str(run.resolve()).encode(), digest_size=4).hexdigest()}"
            self._kwargs["filename_suffix"] = self._kwargs.get("filename_suffix", "") + self._owner
        sizes = state["sizes"] if state is not None else {}
        for lost in (name for name in sizes if sizes[name] > _size(Path(self.log_dir, name))):
            log.warning("%s: is damaged, and the curves lack what was in it", Path(self.log_dir, lost))
        for file in self._event_files():
            if file.name not in sizes:
                file.unlink()
            elif file.stat().st_size > sizes[file.name]:
                os.truncate(file, sizes[file.name])
        self._is_resumed = bool(sizes)
        self._is_laid_out = state is not None and bool(state["is_laid_out"])
        self._steps = dict(state.get("steps", {})) if state is not None else {}

    def _event_files(self) -> list[Path]:
        return sorted(Path(self.log_dir).glob(f"events.out.tfevents.*{self._owner}"))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if "val/mse" in metrics and not self._is_laid_out:
            self._is_laid_out = True
            self.experiment.add_custom_scalars(layout(metrics))
        # the test at the end of a run measures again what the last validation has
        tagged = {tag_of(metric): value for metric, value in metrics.items()}
        new = {tag: value for tag, value in tagged.items() if step is None or self._steps.get(tag) != step}
        self._steps |= dict.fromkeys(new, step or 0)
        super().log_metrics(new, step)

    @rank_zero_only
    def log_settings(self, settings: Mapping[str, Any]) -> None:
        """Give a run its line in the tab *HPARAMS*.

        What all runs have in common, settings and metrics, is not written: TensorBoard then looks into every run, and shows the
        settings that differ first. A resumed run has its line.
        """
        if self._is_resumed:
            return
        self._add(hparams(dict(settings), {})[1])

    @rank_zero_only
    def log_success(self) -> None:
        """Note that the run is complete."""
        self._add(hparams({}, {})[2])

    @rank_zero_only
    def log_picture(self, name: str, file: Path, step: int) -> None:
        """Show a picture from a PNG file, with fewer colours."""
        content = io.BytesIO()
        with Image.open(file) as picture:
            width, height = picture.size
            few = picture.convert("RGB").quantize(_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
            few.save(content, format="png")
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content.getvalue())
        self._add(Summary(value=[Summary.Value(tag=f"view/{name}", image=image)]), step)

    @rank_zero_only
    def log_points(self, points: Float[ndarray, "point dimension"], columns: Mapping[str, Iterable[object]]) -> None:
        """Show points in the tab *Projector*.

        Args:
            points: Their coordinates; those of a line or a plane are given zeros, as the projector shows no less than a space.
            columns: What is known of each point, by name: what they can be coloured and searched by.
        """
        folder = Path(self.log_dir)
        folder.mkdir(parents=True, exist_ok=True)
        zeros = [0.0] * (_LEAST_DIMENSIONS - points.shape[1])
        rows = ([f"{value:.{_DIGITS}g}" for value in (*point, *zeros)] for point in points.tolist())
        write_atomically(folder / "latent.tsv", _as_table(rows))
        write_atomically(folder / "latent_signals.tsv", _as_table([list(columns), *zip(*columns.values(), strict=True)]))
        config = 'embeddings {\n  tensor_name: "latent"\n  tensor_path: "latent.tsv"\n  metadata_path: "latent_signals.tsv"\n}\n'
        write_atomically(folder / "projector_config.pbtxt", config)

    @rank_zero_only
    def log_reference(self, label: str, errors: Mapping[str, float], steps: int) -> None:
        """Draw the errors of a reference as lines over a whole run, in a run of its own beside the autoencoder's.

        A resumed run leaves what is there, which is written completely or not at all; a run that became longer replaces it.

        Args:
            label: What the reference is called.
            errors: Its errors, by metric.
            steps: Optimiser steps of the run.
        """
        folder = Path(self.log_dir).with_name(label + self._owner)
        new = folder.with_name(f".{label}.{token_hex(4)}")
        suffix = f".to_{steps}"  # in the name of the file
        if any(folder.glob(f"*{suffix}")):
            return
        with SummaryWriter(str(new), filename_suffix=suffix) as writer:
            for step in (0, steps):
                for metric, error in errors.items():
                    writer.add_scalar(tag_of(metric), error, step)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)

    def _add(self, summary: Summary, step: int = 0) -> None:
        self.experiment._get_file_writer().add_summary(summary, step)  # noqa: SLF001 - as Lightning does: there is no other way


def tag_of(metric: str) -> str:
    """The name of a metric in TensorBoard, which sorts by names: errors, the test signal's, training, ratios, pictures.

    >>> [tag_of(metric) for metric in ("val/mse", "val/mse/over_svd", "sine/mse_noise_0.1", "train/mse")]
    ['error/val/mse', 'versus/val/mse/over_svd', 'sine/mse_noise_0.1', 'train/mse']
    """
    if "/over_" in metric:
        return f"versus/{metric}"
    return f"error/{metric}" if metric.startswith("val/") else metric


def layout(metrics: Iterable[str]) -> dict[str, dict[str, tuple[str, Sequence[str]]]]:
    """Charts for TensorBoard, by category: one for each noise level, with the autoencoder's curve and those of the references.

    Args:
        metrics: What is measured.
    """
    errors: dict[str, tuple[str, Sequence[str]]] = {}
    sine: dict[str, tuple[str, Sequence[str]]] = {}
    for metric in metrics:
        kind, _, level = metric.partition("_noise_")
        tags = [f"{re.escape(tag_of(metric))}$"]
        if metric == "val/mse":
            errors["clean signals: validation and training"] = ("Multiline", [*tags, f"{re.escape(tag_of('train/mse'))}$"])
        elif "/over_" in metric:
            continue
        elif kind == "val/mse":
            errors[f"noise {level}"] = ("Multiline", tags)
        elif kind in ("sine/mse", "sine/mean_mse"):
            what = "each copy" if kind == "sine/mse" else "mean of the copies"
            sine[f"noise {level}, {what}"] = ("Multiline", tags)
    return {"error": errors} | ({"error in the test signal": sine} if sine else {})


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _as_table(rows: Iterable[Iterable[object]]) -> str:
    return "".join("\t".join(str(value) for value in row) + "\n" for row in rows)
