"""Files of checkpoints: written completely or not at all, and verified before a run resumes or is loaded from them.

PyTorch is imported late: the command line imports this too.
"""

import io
import logging
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavecoder.training.files import DamagedError, rename_damaged, write_atomically

if TYPE_CHECKING:
    from wavecoder.training.data import SignalDataModule
    from wavecoder.training.module import AutoencoderModule

log = logging.getLogger(__name__)

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
"""What a run resumes from, the one before, which is kept while it trains, and the best weights."""


def write_checkpoint(checkpoint: dict[str, Any], file: Path, before: str | None = None) -> None:
    """Write a checkpoint, with a CRC-32 of each record, so that at any moment either all of it is there or the one before.

    Args:
        checkpoint: Its content.
        file: Where.
        before: The name that the one before is given; None if it is not kept.
    """
    import torch

    content = io.BytesIO()
    torch.save(checkpoint, content)
    file.parent.mkdir(exist_ok=True)  # without parents: a run's folder may have been removed
    write_atomically(file, content.getvalue(), before)


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint to the memory of the CPU, without running code, and verify the CRC-32 of everything in it.

    Raises:
        DamagedError: It is damaged, or not a checkpoint, or not a file.
        PermissionError: It may not be read.
    """
    import torch

    try:
        content = file.read_bytes()
    except PermissionError:
        raise
    except OSError as error:
        raise DamagedError(f"{file}: is damaged ({error.strerror})") from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as records:
            if (record := records.testzip()) is not None:
                raise zipfile.BadZipFile(f"the checksum of {record} is wrong")
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        checkpoint["state_dict"].items()
    except MemoryError:
        raise
    except Exception as error:  # of many kinds
        raise DamagedError(f"{file}: is damaged, or no checkpoint of a run ({type(error).__name__})") from error
    return dict(checkpoint)


def sound_checkpoint(
    folder: Path, module: "AutoencoderModule", datamodule: "SignalDataModule", set_aside: bool = True
) -> Path | None:
    """The newest checkpoint from which a run can resume; damaged ones, and those that do not fit, are named and set aside.

    Args:
        folder: Where the run keeps its checkpoints.
        module: What will be trained.
        datamodule: What it will be trained on.
        set_aside: Whether damaged files are renamed to `NAME.damaged`, with a warning: by one process of a run alone. The others
            come to the same conclusion, before and after that.

    Returns:
        Its file; None if there is none, and the run must start from the beginning.

    Raises:
        OSError: It may not be read, or not be renamed.
    """
    for file in (folder / LAST, folder / PREVIOUS):
        if not os.path.lexists(file):
            continue
        try:
            _check_fits(file, read_checkpoint(file), module, datamodule)
        except DamagedError as error:
            if set_aside:
                log.warning("%s; it is set aside as %s", error, rename_damaged(file))
        else:
            return file
    return None


def _check_fits(file: Path, checkpoint: dict[str, Any], module: "AutoencoderModule", datamodule: "SignalDataModule") -> None:
    """Make sure that a run can resume from a checkpoint.

    Raises:
        DamagedError: It is of another network or optimiser, or has only a part of what is needed.
    """
    try:
        shapes = [{name: value.shape for name, value in each.items()} for each in (checkpoint["state_dict"], module.state_dict())]
        made = module.configure_optimizers()
        optimizers, schedulers = made if isinstance(made, tuple) else ([made], [])
        for optimizer, state in zip(optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(state)
        for scheduler, state in zip(schedulers, checkpoint["lr_schedulers"], strict=True):
            scheduler.load_state_dict(state)
        fit_loop = checkpoint["loops"]["fit_loop"]
        loaders = fit_loop["state_dict"].get("combined_loader", [])
        same_chunks = all(each["steps_per_execution"] == datamodule.steps_per_execution for each in loaders)
        complete = {"epoch_progress", "epoch_loop.batch_progress"} <= fit_loop.keys() and isinstance(
            checkpoint["callbacks"], dict
        )
    except Exception as error:  # of many kinds
        raise DamagedError(f"{file}: lacks something that a run resumes from ({type(error).__name__})") from error
    if shapes[0] != shapes[1]:
        raise DamagedError(f"{file}: is of a network with other weights")
    if not (same_chunks and complete):
        raise DamagedError(f"{file}: is of another version")
