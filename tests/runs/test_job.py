"""One run: killed and resumed, changed, run twice at a time, complete already."""

import os
import signal
from pathlib import Path

from conftest import JOB, Run, kill, record_of, start, wait_for

from wavecoder.runs import results


def test_a_killed_run_resumes_to_the_same_numbers(run_train: Run, tmp_path: Path) -> None:
    linear = ("experiment=theorem", "latent=2", "trainer.max_epochs=40")
    assert run_train(*JOB, *linear, "hydra.run.dir=whole").returncode == 0
    process = start(tmp_path, *JOB, *linear, "hydra.run.dir=killed")
    wait_for(tmp_path / "killed" / "checkpoints" / "last.ckpt", process)
    kill(process)
    assert record_of(tmp_path / "killed")["status"] == "unfinished"
    done = run_train(*JOB, *linear, "hydra.run.dir=killed")
    assert (done.returncode, done.stderr) == (0, "")
    assert "killed resumes from its last checkpoint" in done.stdout
    whole, killed = (record_of(tmp_path / name) for name in ("whole", "killed"))
    assert 0 < killed["timing"]["resumed_at_step"] < killed["timing"]["steps"] == whole["timing"]["steps"]
    for part in ("metrics", "references", "subspace", "config_fingerprint"):
        assert killed[part] == whole[part], part


def test_a_changed_configuration_is_never_mixed_with_the_old(run_train: Run, tmp_path: Path) -> None:
    for epochs in (2, 3):
        done = run_train(*JOB, f"trainer.max_epochs={epochs}", "hydra.run.dir=run")
        assert (done.returncode, done.stderr) == (0, "")
    assert "run: its configuration has changed, so it starts from the beginning" in done.stdout
    timing = record_of(tmp_path / "run")["timing"]
    assert (timing["resumed_at_step"], timing["steps"]) == (0, 30)


def test_a_complete_run_is_not_repeated(run_train: Run, tmp_path: Path) -> None:
    arguments = (*JOB, "trainer.max_epochs=1", "~callbacks.figures", "hydra.run.dir=run")
    assert run_train(*arguments).returncode == 0
    before = (tmp_path / "run" / "results.json").stat().st_mtime_ns
    again = run_train(*arguments)
    assert (again.returncode, again.stdout, again.stderr) == (0, "run is complete already, nothing to do\n", "")
    assert (tmp_path / "run" / "results.json").stat().st_mtime_ns == before


def test_a_run_of_an_earlier_version_is_not_mistaken_for_a_new_one(run_train: Run, tmp_path: Path) -> None:
    """Its results.json has another schema, so the run is trained again."""
    arguments = (*JOB, "trainer.max_epochs=1", "~callbacks.figures", "hydra.run.dir=run")
    assert run_train(*arguments).returncode == 0
    new = record_of(tmp_path / "run")
    results.write_results(tmp_path / "run", {key: value for key, value in new.items() if key != "schema"})
    assert run_train(*arguments).returncode == 0
    assert record_of(tmp_path / "run")["schema"] == 2
    assert record_of(tmp_path / "run")["metrics"] == new["metrics"]


def test_a_process_that_dies_ends_the_run(tmp_path: Path) -> None:
    process = start(tmp_path, *JOB, "trainer=ddp_cpu", "trainer.max_epochs=500", "hydra.run.dir=run")
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", process)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    assert process.wait(60) != 0
    kill(process)


def test_a_folder_with_contents_of_something_else_is_left_alone(run_train: Run, tmp_path: Path) -> None:
    (tmp_path / "mine" / "figures").mkdir(parents=True)
    (tmp_path / "mine" / "figures" / "thesis.png").write_text("mine")
    done = run_train(*JOB, "hydra.run.dir=mine")
    said = "error: hydra.run.dir=mine: holds figures that no run has written; choose another folder\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "figures", "thesis.png"]
