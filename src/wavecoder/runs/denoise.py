"""Cleaning a file of signals with a trained run: `wavecoder denoise`."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy import ndarray
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from wavecoder.before_after import RecordingBeforeAfter, RowsBeforeAfter
from wavecoder.files import FileError, Recording, Rows, create, open_signals
from wavecoder.runs.build import as_setting_error
from wavecoder.runs.denoiser import BLOCK, Denoiser, Findings, Level, default_level, in_windows
from wavecoder.runs.load import Seed, Trained, load
from wavecoder.runs.text import plain
from wavecoder.runs.threads import torch_threads
from wavecoder.signals import SinusoidSource
from wavecoder.training.files import write_atomically
from wavecoder.windows import RESOLUTION, Reconstruct, overlap_add

_PART = 4  # signals long is the enlarged part in the picture of a recording
_ROW_VALUES = 1_000_000  # values of rows that are taken at once
_SAME_RATE = 0.01  # relative difference between sampling steps that does not matter


def denoise(
    run: Path,
    input: Path,
    output: Path,
    noise: float | None = None,
    seed: Seed = "best",
    windows: bool = False,
    level: Level | None = None,
    key: str | None = None,
    force: bool = False,
    device: str = "cpu",
) -> None:
    """Clean the signals in a file, write them and a picture beside them, and say what was found.

    Args:
        run: The run's folder.
        input: The signals.
        output: Where the clean ones go; the picture has the same name with the suffix .png.
        noise: Standard deviation of the noise in the input; None if it is not known.
        seed: Which of the run's networks.
        windows: Whether signals as long as the run's, or shorter, go through overlapping windows too.
        level: Whether to match the level of the training signals; None for recordings, and not for rows.
        key: Which array of a .npz file, or column of a .parquet file.
        force: Whether output and picture may be replaced.
        device: Where the network computes.

    Raises:
        SettingError: The run cannot be loaded, or the choices do not fit it.
        FileError: A file cannot be read or written.
    """
    if not output.name:
        raise FileError(output, "is a folder; a file is needed")
    picture = output.with_suffix(".png")
    signals = open_signals(input, key)
    with create(output, signals, force) as writer:
        if picture.exists() and not force:
            raise FileError(picture, "exists already; --force replaces it")
        model = load(run, seed, device)
        torch.set_num_threads(torch_threads(model.settings))
        work = _Work(model, signals, input, windows)
        with as_setting_error("denoise"):
            denoiser = Denoiser(model, noise, level or default_level(model, isinstance(signals, Recording)))
        with _progress() as bar:
            task = bar.add_task("", total=2 * work.size)
            for block in work.send(denoiser.look):
                bar.update(task, advance=block.size)
            findings = denoiser.judge()
            for block in work.send(denoiser.clean):
                writer.write(block)
                bar.update(task, advance=block.size)
        figure = _as_png(work.figure(f"{input.name}, denoised by {_name(model)}"))
    write_atomically(picture, figure)
    print(plain(f"{output}: {work.description}, denoised by {_name(model)}; picture: {picture}"))
    print(*map(plain, _report(model, findings, noise is not None)), sep="\n")
    for warning in (*_warnings(findings), *_sampling(model, signals)):
        print(warning)
    if writer.clipped:
        print(f"warning: {writer.clipped:,} samples are beyond ±1, which {output.name} cannot hold; they are clipped")


class _Work:
    """The signals of a file on their way through windows, and what a picture needs to keep of them.

    Attributes:
        size: Number of values.
        description: The signals in words.
    """

    def __init__(self, model: Trained, signals: Rows | Recording, path: Path, always: bool) -> None:
        self._signals = signals
        self._length = model.signal_length
        self._device = model.device
        self._always = always
        if isinstance(signals, Recording):
            samples, self.size = signals.length, signals.length
            at = f" at {signals.rate:,.0f} Hz ({samples / signals.rate:,.1f} s)" if signals.rate else ""
            self.description = f"a recording of {samples:,} samples{at}"
            self._kept: RecordingBeforeAfter | RowsBeforeAfter = RecordingBeforeAfter(
                samples, min(samples, _PART * self._length), signals.rate
            )
        else:
            (count, samples), self.size = signals.values.shape, signals.values.size
            windows = "" if samples == self._length and not always else f", in windows of {self._length:,}"
            self.description = f"{count:,} signals of {samples:,} samples{windows}"
            self._kept = RowsBeforeAfter(count)
        if samples < self._length and not always:
            what = "the recording has" if isinstance(signals, Recording) else "rows have"
            needed = f"the run's signals have {self._length:,}; --windows continues shorter ones by reflection"
            raise FileError(path, f"{what} {samples:,} samples and {needed}")

    def send(self, function: Reconstruct) -> Iterator[ndarray]:
        """Everything, from the beginning, through a function of windows."""
        self._kept.begin_pass()
        results = self._rows(function) if isinstance(self._signals, tuple) else self._recording(self._signals, function)
        for block in results:
            cleaned = block.cpu().numpy()
            self._kept.take_output(cleaned)
            yield cleaned

    def _inputs(self, blocks: Iterable[ndarray]) -> Iterator[Tensor]:
        for block in blocks:
            self._kept.take_input(block)
            yield torch.from_numpy(np.array(block)).to(self._device)  # never memory of a file

    def _rows(self, function: Reconstruct) -> Iterator[Tensor]:
        values = self._signals.values  # type: ignore[union-attr]
        at_once = max(1, _ROW_VALUES // values.shape[1])
        for rows in self._inputs(values[first : first + at_once] for first in range(0, len(values), at_once)):
            yield torch.cat(list(in_windows(rows, self._length, function, self._always)), -1)

    def _recording(self, recording: Recording, function: Reconstruct) -> Iterator[Tensor]:
        blocks = self._inputs(recording.blocks(BLOCK))
        if recording.length == self._length and not self._always:
            yield function(torch.cat(list(blocks))[None])[0]
        else:
            yield from overlap_add(blocks, self._length, function)

    def figure(self, title: str) -> Figure:
        """The picture of input and output."""
        return self._kept.figure(title)


def _progress() -> Progress:
    """A bar, on a terminal only."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def _as_png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return content.getvalue()


def _name(model: Trained) -> str:
    seeds = f"the mean of {len(model.seeds)} seeds" if model.seed == "mean" else f"seed {model.seed}"
    return f"{model.label}, latent {model.latent_dim}, {seeds}"


def _report(model: Trained, findings: Findings, given: bool) -> Iterator[str]:
    """What was found about the signals, in lines."""
    smallest = RESOLUTION * findings.power**0.5
    noise = f"{findings.noise:.3g}" if findings.noise or given else f"below {smallest:.1g}"
    yield f"noise: standard deviation {noise} ({'as given' if given else 'estimated'})"
    if model.scaling.kind != "none":
        yield f"level: scaled as in training (data.scaling={model.scaling.kind}), and back"
    else:
        factor = f"times {findings.factor:.3g} for the network, which matches the training signals' power, and back"
        yield f"level: {'kept' if findings.factor == 1 else factor}"
    distance = f"{findings.distance:.2g} × the error of the run's own signals (val/mse {findings.val_mse:.3g}), noise left out"
    yield f"distance from the training signals: {distance}"
    yield f"error to be expected in the result: standard deviation about {findings.expected_error:.2g}"


def _warnings(findings: Findings) -> Iterator[str]:
    """What speaks against the result."""
    if findings.foreign:
        error = f"{findings.distance:.2g} times the error of the run's own signals"
        yield f"warning: the input is unlike the training signals, reconstructed with {error}; the result should not be trusted"
    elif findings.expected_error > findings.noise:
        yield "warning: the error to be expected is larger than the noise in the input; the input may be better than the result"
    if findings.drowned:
        yield "warning: hardly any signal is seen above the noise; the result should not be trusted"


def _sampling(model: Trained, signals: Rows | Recording) -> Iterator[str]:
    """Whether a recording is sampled as the training signals were."""
    if not isinstance(signals, Recording):
        return
    if model.settings.data.path is None:
        assert isinstance(model.source, SinusoidSource)
        frequencies = model.source.training_set("cpu").frequency.abs().double().numpy()
        few, many = 2 * np.pi / model.dt / np.quantile(frequencies, [0.9, 0.1])
        periods = f"in 80 % of the training signals a period has {few:.0f} to {many:.0f} samples"
        yield f"note: the run's unit of time has no name, so sampling rates cannot be compared; {periods}"
    elif signals.rate is not None and model.dt == 1:
        yield "note: the run does not know its sampling rate (data.dt=1), so it cannot be compared with the recording's"
    elif signals.rate is not None and abs(model.dt * signals.rate - 1) > _SAME_RATE:
        steps = f"the recording's sampling step is {1 / signals.rate:.4g} s and that of the training signals {model.dt:.4g}"
        yield f"warning: {steps} (data.dt); the result should not be trusted"
