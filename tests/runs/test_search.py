"""A search that is stopped and resumed, and the experiment it ends with."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from stopped_search import Search, kill_driver


@pytest.mark.slow
def test_a_stopped_search_is_resumed_and_ends_with_an_experiment(tmp_path: Path) -> None:
    search = Search(tmp_path, at_a_time=1)
    process = search.start_until_the_middle()
    process.send_signal(signal.SIGSTOP)
    at_once = search.run()
    kill_driver(process)
    assert (at_once.returncode, at_once.stderr) == (2, "error: sweep=search: another process works on this search\n")

    assert search.resume().stderr == ""
    known = len(search.trials())
    again = search.run()
    assert (again.returncode, len(search.trials())) == (0, known)
    for change in ("trainer.max_epochs=2", "latent.dim=range(20,30)"):
        other = search.run(change)
        assert (other.returncode, other.stdout) == (2, "")
        assert other.stderr == "error: sweep=search: is a search with other settings; they are not mixed, choose another name\n"

    search.reproduce_best()
    chosen = yaml.safe_load((search.sweep / "experiment" / "best.yaml").read_text())
    assert chosen["optimizer"].keys() == {"lr"}
    assert chosen["data"] == {"train_size": 640, "val_size": 64}


@pytest.mark.slow
def test_a_stopped_search_with_joblib_is_resumed_and_reproduced(tmp_path: Path) -> None:
    search = Search(tmp_path, ("hydra/launcher=joblib",))
    process = search.start_until_the_middle()
    kill_driver(process)
    try:
        assert search.resume().stderr == ""
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it started
    search.reproduce_best()
