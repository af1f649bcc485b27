"""A search that is stopped in the middle, resumed, and whose best network is trained again, under any launcher."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from held import HELD, hold, release
from optuna.trial import FrozenTrial, TrialState
from processes import JOB, OWN_NETWORKS, run_script, start, until
from run_files import completed, records

TRIALS = 4
BEST = ("--config-dir", "outputs/sweeps/search", "experiment=best")


@dataclass(frozen=True)
class Search:
    """A search of four short jobs.

    Attributes:
        folder: Where its command is given.
        launcher: The choices of its launcher.
        at_a_time: How many jobs it launches together.
        environment: What is added to that of its command.
    """

    folder: Path
    launcher: tuple[str, ...] = ()
    at_a_time: int = 2
    environment: dict[str, str] | None = None

    @property
    def command(self) -> tuple[str, ...]:
        sizes = (
            f"hydra.sweeper.n_trials={TRIALS}",
            f"hydra.sweeper.n_jobs={self.at_a_time}",
        )
        return ("-m", "experiment=search", *JOB, HELD, "~callbacks.figures", *sizes, *self.launcher)

    @property
    def sweep(self) -> Path:
        return self.folder / "outputs" / "sweeps" / "search"

    def run(self, *changes: str) -> subprocess.CompletedProcess[str]:
        environment = OWN_NETWORKS | (self.environment or {})
        return run_script("train.py", self.folder, *self.command, *changes, environment=environment)

    def trials(self) -> list[FrozenTrial]:
        return optuna.load_study("wavecoder", f"sqlite:///{self.sweep}/study.db").trials

    def start_until_the_middle(self) -> subprocess.Popen[bytes]:
        """Start it, and return its process when the jobs that were launched first are complete and others have begun."""
        hold(self.sweep, after=self.at_a_time)
        process = start(self.folder, *self.command, environment=OWN_NETWORKS | (self.environment or {}))
        until(lambda: self.at_a_time <= len(completed(self.sweep)) < len(records(self.sweep)), process)
        return process

    def resume(self) -> subprocess.CompletedProcess[str]:
        """Give its command again after it was killed, and check that it makes what was missing and no more."""
        begun, before = set(records(self.sweep)), self.trials()
        complete = [trial for trial in before if trial.state == TrialState.COMPLETE]
        assert self.at_a_time <= len(complete) < TRIALS
        assert any(trial.state == TrialState.RUNNING for trial in before)

        release(self.sweep)
        done = self.run()
        assert done.returncode == 0, done.stderr
        assert set(completed(self.sweep)) == set(records(self.sweep)) >= begun
        assert len(completed(self.sweep)) == TRIALS, "interrupted trials are made in their folders, no choice is repeated"
        after = self.trials()
        assert len(after) == len(before) + TRIALS - len(complete)
        assert [trial.state for trial in after].count(TrialState.COMPLETE) == TRIALS
        assert " ".join(BEST) in done.stdout
        return done

    def reproduce_best(self) -> None:
        """Train its best network alone, and check that no bit differs from the job of the search."""
        best = min(records(self.sweep).values(), key=lambda record: record["metrics"]["val/mse"]["mean"])
        alone = run_script(
            "train.py", self.folder, *BEST, "hydra.run.dir=run", "logger=none", "~callbacks.figures", environment=OWN_NETWORKS
        )
        assert (alone.returncode, alone.stderr) == (0, "")
        found: dict[str, Any] = json.loads((self.folder / "run" / "results.json").read_text())
        assert (found["metrics"], found["config_fingerprint"]) == (best["metrics"], best["config_fingerprint"])


def kill_driver(process: subprocess.Popen[bytes]) -> None:
    """Kill a command alone, as the kernel does where memory is short, and not what it started."""
    process.kill()
    process.wait()
