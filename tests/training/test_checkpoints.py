"""Files of checkpoints: verified when they are read, set aside when they are damaged or do not fit."""

import errno
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from conftest import autoencoder_module, data_module, quiet_trainer
from damages import DAMAGES, PARTS, changed, flipped_directory
from torch import nn

from wavecoder.training.callbacks.checkpoint import LastCheckpoint
from wavecoder.training.checkpoints import DamagedError, is_sound, read_checkpoint, sound_checkpoint, write_checkpoint

QUICK = ("other shapes", "no callbacks", "weights that are NaN", "optimiser state of other shapes", "other loops")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the last checkpoint of a run, and the one before."""
    folder = tmp_path_factory.mktemp("checkpoints")
    trainer = quiet_trainer(folder, max_epochs=2, callbacks=[LastCheckpoint(str(folder), 0.0)], enable_checkpointing=True)
    trainer.fit(autoencoder_module(num_seeds=2), data_module(2))
    return folder


def test_what_is_said_of_a_checkpoint_that_cannot_be_written_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    trainer = quiet_trainer(tmp_path, callbacks=[LastCheckpoint(str(tmp_path))], enable_checkpointing=True)
    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space left") as error:
        trainer.fit(autoencoder_module(), data_module())
    assert error.value.filename == str(tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "damage", [each if each not in PARTS or each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in DAMAGES]
)
def test_a_damaged_checkpoint_is_named_and_set_aside(
    checkpoints: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    shutil.copytree(checkpoints, tmp_path, dirs_exist_ok=True)
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    assert [read_checkpoint(file)["global_step"] for file in (last, previous)] == [80, 40]
    trainer = quiet_trainer(tmp_path, callbacks=[LastCheckpoint(str(tmp_path))], enable_checkpointing=True)
    made = autoencoder_module(num_seeds=2), data_module(2), trainer
    caplog.clear()
    assert sound_checkpoint(tmp_path, *made) == last
    (tmp_path / "last.ckpt.damaged").touch()  # of an earlier time
    DAMAGES[damage](last)
    if damage in PARTS:  # which is seen when a run resumes
        read_checkpoint(last)
    else:
        with pytest.raises(DamagedError, match=f"^{last}: is damaged"):
            read_checkpoint(last)
    assert sound_checkpoint(tmp_path, *made, set_aside=False) == previous  # as another process of the run finds it
    assert sound_checkpoint(tmp_path, *made) == previous
    (said,) = caplog.messages
    assert said.startswith(f"{last}: ")
    assert said.endswith("; it is set aside as last.ckpt.damaged")
    assert "\n" not in said
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt.damaged", "previous.ckpt"}
    assert sound_checkpoint(tmp_path, *made, set_aside=False) == previous


def test_checkpoints_of_another_run_do_not_fit(checkpoints: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for made in [
        (autoencoder_module(num_seeds=3), data_module(3), quiet_trainer(tmp_path)),
        (autoencoder_module(num_seeds=2, loss=nn.L1Loss()), data_module(2, steps_per_execution=6), quiet_trainer(tmp_path)),
    ]:
        shutil.copytree(checkpoints, tmp_path, dirs_exist_ok=True)
        assert sound_checkpoint(tmp_path, *made) is None
    assert sum("is set aside as" in message for message in caplog.messages) == 4


def test_any_flipped_bit_of_a_checkpoint_is_noticed(checkpoints: Path, tmp_path: Path) -> None:
    content, drawn = (checkpoints / "last.ckpt").read_bytes(), random.Random(0)
    directory = content.index(b"PK\x01\x02")
    for number in range(150):  # most in the directory, which is small
        place = drawn.randrange(directory if number % 3 else 0, len(content))
        damaged = bytearray(content)
        damaged[place] ^= 1 << drawn.randrange(8)
        (tmp_path / "last.ckpt").write_bytes(damaged)
        with pytest.raises(DamagedError):
            read_checkpoint(tmp_path / "last.ckpt")


def test_checkpoints_of_earlier_versions_have_no_digest(checkpoints: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(checkpoints / "last.ckpt", tmp_path))

    def as_before(checkpoint: dict[str, Any]) -> None:
        del checkpoint["session"], checkpoint["divergence"]

    changed(as_before)(file)
    made = autoencoder_module(num_seeds=2), data_module(2), quiet_trainer(tmp_path)
    assert sound_checkpoint(tmp_path, *made) == file
    file.write_bytes(flipped_directory(file.read_bytes()))
    with pytest.raises(DamagedError):
        read_checkpoint(file)


def test_sums_of_squares_may_overflow(checkpoints: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(checkpoints / "last.ckpt", tmp_path))
    changed(lambda it: it["optimizer_states"][0]["state"][0]["exp_avg_sq"][0, :1].fill_(torch.inf))(file)
    assert sound_checkpoint(tmp_path, autoencoder_module(num_seeds=2), data_module(2), quiet_trainer(tmp_path)) == file


def pipe_instead(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(b"x"), DAMAGES["a folder"], pipe_instead])
def test_a_checkpoint_is_sound_unless_it_is_seen_to_be_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object]
) -> None:
    file = tmp_path / "last.ckpt"
    write_checkpoint({"state_dict": {}}, file)
    assert is_sound(file)
    monkeypatch.setattr(
        "wavecoder.training.checkpoints.read_file", mock.Mock(side_effect=PermissionError(13, "Permission denied"))
    )
    assert is_sound(file)
    monkeypatch.undo()
    damage(file)
    assert not is_sound(file)
