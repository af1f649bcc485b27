"""A search that is stopped and resumed, and the experiment it ends with."""

import json
import os
import signal
import time
from pathlib import Path

import optuna
import pytest
import yaml
from conftest import JOB, completed, kill, records, run_script, start
from optuna.trial import TrialState

SEARCH = ("-m", "experiment=search", *JOB, "~callbacks.figures", "hydra.sweeper.n_trials=4")


@pytest.mark.slow
def test_a_stopped_search_is_resumed_and_ends_with_an_experiment(tmp_path: Path) -> None:
    sweep = tmp_path / "outputs" / "sweeps" / "search"
    process = start(tmp_path, *SEARCH)
    deadline = time.monotonic() + 60
    while len(records(sweep)) < 2:  # one is complete, one has begun
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGSTOP)
    at_once = run_script("train.py", tmp_path, *SEARCH)
    kill(process)
    assert (at_once.returncode, at_once.stderr) == (2, "error: sweep=search: another process works on this search\n")
    begun, before = set(records(sweep)), len(completed(sweep))
    assert before < 4

    done = run_script("train.py", tmp_path, *SEARCH)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(completed(sweep)) == set(records(sweep)) >= begun
    assert len(completed(sweep)) == 4, "what was interrupted is tried again in its folder, and the sampler repeats no choices"
    (study,) = optuna.get_all_study_summaries(f"sqlite:///{sweep}/study.db")
    trials = optuna.load_study(study.study_name, f"sqlite:///{sweep}/study.db").trials
    assert [trial.state for trial in trials].count(TrialState.COMPLETE) == 4
    assert done.stdout.count("Launching") == 4 - before

    again = run_script("train.py", tmp_path, *SEARCH)
    assert (again.returncode, again.stdout.count("Launching")) == (0, 0)
    for change in ("trainer.max_epochs=2", "latent.dim=range(20,30)"):
        other = run_script("train.py", tmp_path, *SEARCH, change)
        assert (other.returncode, other.stdout) == (2, "")
        assert other.stderr == "error: sweep=search: is a search with other settings; they are not mixed, choose another name\n"

    name, best = min(records(sweep).items(), key=lambda item: item[1]["metrics"]["val/mse"]["mean"])
    command = "--config-dir outputs/sweeps/search experiment=best"
    assert command in done.stdout
    same = run_script("train.py", tmp_path, *command.split(), "hydra.run.dir=run", "logger=none", "~callbacks.figures")
    assert (same.returncode, same.stderr) == (0, "")
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (found["metrics"], found["config_fingerprint"]) == (best["metrics"], best["config_fingerprint"])
    chosen = yaml.safe_load((sweep / "experiment" / "best.yaml").read_text())
    assert chosen["optimizer"].keys() == {"lr"}
    assert chosen["data"] == {"train_size": 640, "val_size": 64}
    assert name in records(sweep)
