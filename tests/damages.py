"""Ways in which a checkpoint can be damaged, by name: functions of its file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def flipped(content: bytes) -> bytes:
    """One bit of the weights is another one."""
    at = content.index(b"/data/0") + 200
    return content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :]


def flipped_directory(content: bytes) -> bytes:
    """One bit of an archive's directory says that a tensor is a folder, of which PyTorch reads nothing."""
    at = content.rindex(b"/data/0")
    entry = content.rindex(b"PK\x01\x02", 0, at)
    return content[: entry + 38] + bytes([content[entry + 38] ^ 16]) + content[entry + 39 :]


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.file,)


Content = dict[str, Any]


def changed(change: Callable[[Content], object]) -> Callable[[Path], None]:
    """Writes a checkpoint anew with another content, as anybody can."""

    def write(file: Path) -> None:
        checkpoint = torch.load(file, weights_only=True)
        change(checkpoint)
        torch.save(checkpoint, file)

    return write


def other_shapes(checkpoint: Content) -> None:
    checkpoint["state_dict"] = {name: value[..., :1] for name, value in checkpoint["state_dict"].items()}


def state(checkpoint: Content) -> dict[str, torch.Tensor]:
    """What Adam keeps of the parameters."""
    found: dict[str, torch.Tensor] = checkpoint["optimizer_states"][0]["state"][0]
    return found


def without(key: str) -> Callable[[Path], None]:
    return changed(lambda checkpoint: checkpoint.pop(key))


PARTS: dict[str, Callable[[Path], None]] = {
    "other shapes": changed(other_shapes),
    "no optimiser": without("optimizer_states"),
    "no loops": without("loops"),
    "no callbacks": without("callbacks"),
    "no version": without("pytorch-lightning_version"),
    "a text for a number": changed(lambda it: it.update(global_step="80")),
    "weights that are NaN": changed(lambda it: next(iter(it["state_dict"].values()))[:1].fill_(torch.nan)),
    "infinite weights": changed(lambda it: next(iter(it["state_dict"].values())).fill_(torch.inf)),
    "no optimiser state": changed(lambda it: it["optimizer_states"][0]["state"].clear()),
    "half an optimiser state": changed(lambda it: state(it).pop("exp_avg_sq")),
    "optimiser state of other shapes": changed(lambda it: state(it).update(exp_avg=state(it)["exp_avg"][:, :3].clone())),
    "optimiser state that is NaN": changed(lambda it: state(it)["exp_avg"].fill_(torch.nan)),
    "infinite optimiser state": changed(lambda it: state(it)["exp_avg"][0, :1].fill_(-torch.inf)),
    "a text for a rate": changed(lambda it: it["optimizer_states"][0]["param_groups"][0].update(lr="1")),
    "other loops": changed(lambda it: it["loops"]["fit_loop"]["epoch_progress"].clear()),
    "a text in the loops": changed(lambda it: it["loops"]["fit_loop"]["epoch_progress"]["total"].update(ready="x")),
    "no time of training": changed(lambda it: it["callbacks"]["LastCheckpoint"].clear()),
    "losses of other members": changed(lambda it: it["session"].update(losses=torch.zeros(1, 5, 9))),
}
"""Those of whole files, in which something is missing, of another run, or no number."""


def folder_instead(file: Path) -> None:
    file.unlink()
    (file / "something").mkdir(parents=True)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a byte less": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "no digest": lambda file: file.write_bytes(file.read_bytes()[:-50]),  # all of it and nothing else is missing
    "half of it": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "empty": lambda file: file.write_bytes(b""),
    "garbage": lambda file: file.write_bytes(b"garbage" * 1000),
    "a folder": folder_instead,
    "a link to nothing": lambda file: (file.unlink(), file.symlink_to("nowhere")),
    "a flipped bit": lambda file: file.write_bytes(flipped(file.read_bytes())),
    "a pickle": lambda file: torch.save({"state_dict": {}, "payload": Touch(file.with_name("executed"))}, file),
    "a flipped bit of the directory": lambda file: file.write_bytes(flipped_directory(file.read_bytes())),
    **PARTS,
}
