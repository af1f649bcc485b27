"""Files of checkpoints: written completely or not at all, and verified before a run resumes or is loaded from them.

PyTorch is imported late: the command line imports this too.
"""

import errno
import io
import logging
import os
import zipfile
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavecoder.training.files import DamagedError, read_file, rename_damaged, write_atomically

if TYPE_CHECKING:
    import lightning as L

    from wavecoder.training.data import SignalDataModule
    from wavecoder.training.module import AutoencoderModule

log = logging.getLogger(__name__)

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
"""What a run resumes from, the one before, which is kept while it trains, and the best weights."""

_MARK = b"wavecoder blake2b "
_COMMENT_LENGTH = len(_MARK) + 32


def write_checkpoint(checkpoint: dict[str, Any], file: Path, before: str | None = None) -> None:
    """Write a checkpoint with a digest of all of it, so that at any moment either all of it is there or the one before.

    Args:
        checkpoint: Its content.
        file: Where.
        before: The name that the one before is given; None if it is not kept.
    """
    import torch

    content = io.BytesIO()
    torch.save(checkpoint, content)
    content.seek(-2, io.SEEK_END)  # the length of the archive's comment, which is the last thing in it
    content.write(_COMMENT_LENGTH.to_bytes(2, "little"))
    content.write(_digest(content.getbuffer()))
    file.parent.mkdir(exist_ok=True)  # without parents: a run's folder may have been removed
    write_atomically(file, content.getvalue(), before)


def _digest(content: bytes | memoryview) -> bytes:
    """The comment of an archive whose other bytes are these."""
    try:
        return _MARK + blake2b(content, digest_size=16).hexdigest().encode()
    finally:
        if isinstance(content, memoryview):
            content.release()  # or nothing could be added to what it is of


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint to the memory of the CPU, without running code, and verify that it is what was written.

    One of an earlier version has no digest, but a CRC-32 of each record.

    Raises:
        DamagedError: It is damaged, or not a checkpoint, or not a file.
        PermissionError: It may not be read.
    """
    import torch

    try:
        content = read_file(file)
    except PermissionError:
        raise
    except OSError as error:
        raise DamagedError(f"{file}: is damaged ({error.strerror})") from error
    try:
        _verify(content)
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        checkpoint["state_dict"].items()
    except MemoryError:
        raise
    except Exception as error:  # of many kinds
        raise DamagedError(f"{file}: is damaged, or no checkpoint of a run ({type(error).__name__})") from error
    return dict(checkpoint)


def is_sound(file: Path) -> bool:
    """Whether a file is what `write_checkpoint` wrote; what is in it is not looked at. One that cannot be read may be."""
    try:
        _verify(read_file(file))
    except MemoryError:
        return True
    except OSError as error:
        return error.errno not in (errno.EISDIR, errno.EINVAL)  # it is no file
    except Exception:  # of many kinds
        return False
    return True


def _verify(content: bytes) -> None:
    """Make sure that an archive is what was written.

    Raises:
        BadZipFile: It is not, or no archive.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        rest = content[: len(content) - len(archive.comment)]
        if rest[-2:] != len(archive.comment).to_bytes(2, "little"):  # which says how long the comment is that must follow
            raise zipfile.BadZipFile("its end is missing")
        if archive.comment and archive.comment != _digest(rest):
            raise zipfile.BadZipFile("its digest is wrong")
        if (record := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"the checksum of {record} is wrong")
        if any(record.external_attr for record in archive.infolist()):  # of a folder, say, for which PyTorch reads nothing
            raise zipfile.BadZipFile("it holds something else than files")


def sound_checkpoint(
    folder: Path, module: "AutoencoderModule", datamodule: "SignalDataModule", trainer: "L.Trainer", set_aside: bool = True
) -> Path | None:
    """The newest checkpoint from which a run can resume; damaged ones, and those that do not fit, are named and set aside.

    Args:
        folder: Where the run keeps its checkpoints.
        module: What will be trained.
        datamodule: What it will be trained on.
        trainer: What will train it.
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
            _check_fits(file, read_checkpoint(file), module, datamodule, trainer)
        except DamagedError as error:
            if set_aside:
                log.warning("%s; it is set aside as %s", error, rename_damaged(file))
        else:
            return file
    return None


def _check_fits(
    file: Path, checkpoint: dict[str, Any], module: "AutoencoderModule", datamodule: "SignalDataModule", trainer: "L.Trainer"
) -> None:
    """Make sure that a run can resume from a checkpoint.

    Raises:
        DamagedError: It is of another network or optimiser, has only a part of what is needed, or numbers that are none.
    """
    from wavecoder.training.fitting import misfit

    try:
        problem = misfit(checkpoint, module, datamodule, trainer)
    except Exception as error:  # of many kinds
        problem = f"lacks something that a run resumes from ({type(error).__name__})"
    if problem is not None:
        raise DamagedError(f"{file}: {problem}")
