"""Files of checkpoints: verified when they are read, set aside when they are damaged or do not fit."""

import errno
import shutil
from pathlib import Path

import pytest
from conftest import autoencoder_module, data_module, quiet_trainer
from damages import DAMAGES, OF_PARTS
from torch import nn

from wavecoder.training.callbacks.checkpoint import CheckpointFiles, LastCheckpoint
from wavecoder.training.checkpoints import DamagedError, read_checkpoint, sound_checkpoint


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the last checkpoint of a run, and the one before."""
    folder = tmp_path_factory.mktemp("checkpoints")
    callbacks, plugins = [LastCheckpoint(str(folder), 0.0)], [CheckpointFiles()]
    trainer = quiet_trainer(folder, max_epochs=2, callbacks=callbacks, plugins=plugins, enable_checkpointing=True)
    trainer.fit(autoencoder_module(num_seeds=2), data_module(2))
    return folder


def test_what_is_said_of_a_checkpoint_that_cannot_be_written_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    trainer = quiet_trainer(
        tmp_path, callbacks=[LastCheckpoint(str(tmp_path))], plugins=[CheckpointFiles()], enable_checkpointing=True
    )
    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space left") as error:
        trainer.fit(autoencoder_module(), data_module())
    assert error.value.filename == str(tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_set_aside(
    checkpoints: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    shutil.copytree(checkpoints, tmp_path, dirs_exist_ok=True)
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    assert [read_checkpoint(file)["global_step"] for file in (last, previous)] == [80, 40]
    made = autoencoder_module(num_seeds=2), data_module(2)
    assert sound_checkpoint(tmp_path, *made) == last
    (tmp_path / "last.ckpt.damaged").touch()  # of an earlier time
    DAMAGES[damage](last)
    if damage in OF_PARTS:  # which is seen when a run resumes
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
        (autoencoder_module(num_seeds=3), data_module(3)),
        (autoencoder_module(num_seeds=2, loss=nn.L1Loss()), data_module(2, steps_per_execution=6)),
    ]:
        shutil.copytree(checkpoints, tmp_path, dirs_exist_ok=True)
        assert sound_checkpoint(tmp_path, *made) is None
    assert len(caplog.messages) == 4
