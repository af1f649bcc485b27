"""Ways in which a checkpoint can be damaged, by name: functions of its file."""

from collections.abc import Callable
from pathlib import Path

import torch


def flipped(content: bytes) -> bytes:
    """One bit of the weights is another one."""
    at = content.index(b"/data/0") + 200
    return content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :]


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.file,)


def other_shapes(file: Path) -> None:
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["state_dict"] = {name: value[..., :1] for name, value in checkpoint["state_dict"].items()}
    torch.save(checkpoint, file)


def without(key: str) -> Callable[[Path], None]:
    def remove(file: Path) -> None:
        torch.save({name: value for name, value in torch.load(file, weights_only=True).items() if name != key}, file)

    return remove


def folder_instead(file: Path) -> None:
    file.unlink()
    (file / "something").mkdir(parents=True)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a byte less": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "half of it": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "empty": lambda file: file.write_bytes(b""),
    "garbage": lambda file: file.write_bytes(b"garbage" * 1000),
    "a folder": folder_instead,
    "a link to nothing": lambda file: (file.unlink(), file.symlink_to("nowhere")),
    "a flipped bit": lambda file: file.write_bytes(flipped(file.read_bytes())),
    "a pickle": lambda file: torch.save({"state_dict": {}, "payload": Touch(file.with_name("executed"))}, file),
    "other shapes": other_shapes,
    "no optimiser": without("optimizer_states"),
    "no loops": without("loops"),
    "no callbacks": without("callbacks"),
}

OF_PARTS = ("other shapes", "no optimiser", "no loops", "no callbacks")
"""Those of whole files, in which something is missing or of another run."""
