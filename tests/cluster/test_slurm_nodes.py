"""Runs over the nodes and as the tasks of a real Slurm cluster of two nodes on this machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from processes import JOB, ROOT, last_choices, run_script
from slurm_cluster import Slurm

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm 2")]


def test_tasks_of_a_step_can_be_runs_of_their_own(slurm: Slurm, tmp_path: Path) -> None:
    program = f"{sys.executable} {ROOT / 'src' / 'train.py'} {' '.join(JOB)} ~callbacks.figures seed=$SLURM_PROCID"
    done = subprocess.run(
        ["srun", "--ntasks=2", "bash", "-c", program],
        cwd=tmp_path,
        env=slurm.environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    seeds = [json.loads(file.read_text())["seed"] for file in (tmp_path / "outputs" / "runs").glob("*/*/results.json")]
    assert sorted(seeds) == [0, 1]


def over_two_nodes(slurm: Slurm, folder: Path, *arguments: str) -> str:
    """What one run prints that two nodes share."""
    command = ["srun", "--nodes=2", "--ntasks-per-node=1", sys.executable, str(ROOT / "src" / "train.py")]
    # the nodes' names are known to Slurm alone here
    environment = slurm.environment | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    command += last_choices([*JOB, "data.batch_size=32", "trainer=slurm", "trainer.num_nodes=2", *arguments])
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_run_over_two_nodes_has_the_numbers_of_one_process(slurm: Slurm, tmp_path: Path) -> None:
    assert run_script("train.py", tmp_path, *JOB, "data.batch_size=32", "hydra.run.dir=alone").returncode == 0
    over_two_nodes(slurm, tmp_path)
    (file,) = (tmp_path / "outputs").glob("runs/slurm/*/results.json")
    together, alone = json.loads(file.read_text()), json.loads((tmp_path / "alone" / "results.json").read_text())
    assert together["timing"]["steps"] == alone["timing"]["steps"]
    for metric, summary in alone["metrics"].items():
        assert together["metrics"][metric]["per_seed"] == pytest.approx(summary["per_seed"], rel=1e-4)


def test_an_interactive_allocation_is_refused_where_it_would_hang(slurm: Slurm, tmp_path: Path) -> None:
    command = ["salloc", "--nodes=2", "--ntasks-per-node=1", "srun", sys.executable, str(ROOT / "src" / "train.py")]
    command += [*JOB, "data.batch_size=32", "trainer=slurm", "trainer.num_nodes=2"]
    done = subprocess.run(command, cwd=tmp_path, env=slurm.environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 2
    assert "error: trainer=slurm: Lightning ignores Slurm in jobs named interactive; give srun --job-name=NAME" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_nodes_agree_on_where_a_run_begins(slurm: Slurm, tmp_path: Path) -> None:
    for epochs in (1, 2):
        printed = over_two_nodes(slurm, tmp_path, "hydra.run.dir=run", f"trainer.max_epochs={epochs}", "~callbacks.figures")
        assert ("its configuration has changed, so it starts from the beginning" in printed) == (epochs == 2)
        timing = json.loads((tmp_path / "run" / "results.json").read_text())["timing"]
        assert (timing["steps"], timing["resumed_at_step"]) == (20 * epochs, 0)
    printed = over_two_nodes(slurm, tmp_path, "hydra.run.dir=run", "trainer.max_epochs=2", "~callbacks.figures")
    assert printed.count("run is complete already, nothing to do") == 2
    (tmp_path / "run" / "reconstructions.npz").write_bytes(b"")
    printed = over_two_nodes(slurm, tmp_path, "hydra.run.dir=run", "trainer.max_epochs=2", "~callbacks.figures")
    assert "run resumes from its last checkpoint" in printed  # and the other node takes part, or the first would wait for it
    assert "complete already" not in printed
