"""Training that waits in its middle until a test lets it go on: there a test finds jobs, however fast or slow the machine is."""

import json
import time
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from wavecoder.training.callbacks.signals import find_handlers
from wavecoder.training.files import write_atomically

HELD = "+callbacks.hold._target_=held.Hold"
"""A choice with which runs can be held, where Python finds this file (`OWN_NETWORKS`)."""


class Hold(L.Callback):
    """Waits after the first epoch of this session, and after each later one, as long as `hold` says so."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        (best,) = (each for each in trainer.callbacks if isinstance(each, ModelCheckpoint))  # type: ignore[attr-defined]
        sweep = Path(str(best.dirpath)).parents[1]
        handlers = find_handlers(trainer)  # who is told to end goes on to the end of the next chunk of steps
        while trainer.current_epoch > 0 and not handlers.received and _holds(sweep):
            time.sleep(0.02)


class PauseInEpoch(L.Callback):
    """Waits in the second epoch where a file `pause` is beside the run's folder, and tells by a file `paused` that it does.

    In the second chunk it waits until a signal was noted, and then lets the chunk end; or, if the file says so, it does not.
    """

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int) -> None:
        place = Path(trainer.default_root_dir).absolute().parent
        if trainer.current_epoch != 1 or batch_idx != 1 or not (place / "pause").exists():
            return
        handlers = find_handlers(trainer)
        (place / "paused").touch()
        while trainer.is_global_zero and (not handlers.received or (place / "pause").read_text()):
            if handlers.received:
                (place / "told").touch()
            time.sleep(0.02)


class PauseAt(L.Callback):
    """Waits in a hook where a file `pause` is beside the run's folder, and tells by a file `paused` that it does.

    Args:
        hook: The hook of Lightning's, as `on_test_end`.
    """

    def __init__(self, hook: str) -> None:
        setattr(self, hook, self._pause)

    def _pause(self, trainer: L.Trainer, *_: object) -> None:
        place = Path(trainer.default_root_dir).absolute().parent
        while (place / "pause").exists():
            (place / "paused").touch()
            time.sleep(0.02)


def hold(sweep: Path, after: int = 0) -> None:
    """Let no job of a sweep, and no run in a folder, come to its end once so many of them are complete."""
    sweep.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(_control(sweep), str(after))


def release(sweep: Path) -> None:
    """Hold nothing any more."""
    _control(sweep).unlink()


def _control(sweep: Path) -> Path:
    return sweep.with_name(f"{sweep.name}.hold")


def _holds(sweep: Path) -> bool:
    try:
        after = int(_control(sweep).read_text())
    except FileNotFoundError:
        return False
    done = [json.loads(file.read_text())["status"] == "completed" for file in sweep.glob("*/results.json")]
    return sum(done) >= after
