"""`wavecoder export`: a trained network as a file for other programs, checked against the network before it is written.

What takes torch is in `exporters`, so that mistakes are answered at once.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from wavecoder.runs.limits import SettingError
from wavecoder.training.files import write_atomically

SUFFIXES = (".onnx", ".pt2")
"""ONNX, for onnxruntime and many others; a program of `torch.export`."""

_NEEDED = ("onnx", "onnxscript", "onnxruntime")


def export(folder: Path, output: Path, seed: int | Literal["best", "mean"] = "best", force: bool = False) -> str:
    """Write a trained network as a file that needs no wavecoder.

    It takes signals `[batch, time]`, float32 and in the user's units, and gives their reconstructions, `[batch, time]`.

    Args:
        folder: A run's folder, or a sweep's, of which the best job is taken.
        output: The file, `.onnx` or `.pt2`. It is written completely or not at all.
        seed: Which of the run's networks: the best one by validation, the one of a seed, or the mean of all reconstructions.
        force: Whether a file that is there is replaced.

    Returns:
        One line: what was written, and how it was checked.

    Raises:
        SettingError: There is no such run or seed, the file cannot be written there, a package is missing, the network cannot be
            exported, or what was exported gives other reconstructions than the network; nothing is written then.
    """
    _check_output(output, force)

    from wavecoder.runs import exporters
    from wavecoder.runs.load import load

    model = load(folder, seed)
    exported = exporters.EXPORTERS[output.suffix.lower()](model)
    write_atomically(output, exported.content)
    size = len(exported.content) / 1000
    which = f"mean of {len(model.seeds)} seeds" if seed == "mean" else f"seed {model.seed}"
    checked = f"checked with {exported.checked_with}: differs by {exported.difference:.1g} of the largest value at most"
    return f"{output}: {model.label} autoencoder, latent {model.latent_dim}, {which}; {size:,.0f} kB; {checked}"


def _check_output(output: Path, force: bool) -> None:
    """Refuse a file that cannot be written.

    Raises:
        SettingError: It is of another kind, it is there, its folder is not, or a package is missing.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise SettingError(f"{output}: must end in {' or '.join(SUFFIXES)}")
    if output.is_dir():
        raise SettingError(f"{output}: is a folder; must be a file")
    if output.exists() and not force:
        raise SettingError(f"{output}: exists; --force replaces it")
    if not output.absolute().parent.is_dir():
        raise SettingError(f"{output}: there is no folder {output.parent}")
    if not os.access(output.absolute().parent, os.W_OK):
        raise SettingError(f"{output}: the folder {output.parent} cannot be written")
    if output.suffix.lower() == ".onnx" and not all(map(find_spec, _NEEDED)):
        raise SettingError(f"{output}: needs wavecoder's extra onnx; pip install 'wavecoder[onnx]'")
