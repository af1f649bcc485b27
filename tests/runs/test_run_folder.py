"""A run resumed by its folder alone, and a complete run that is continued."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import composed
from held import HELD, hold, release
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from processes import JOB, OWN_NETWORKS, Run, kill, start, until
from run_files import made_up_record, record_of, records
from same_end import assert_same_end

from wavecoder.runs import results, resume
from wavecoder.runs.fingerprints import note_fingerprint
from wavecoder.runs.limits import SettingError
from wavecoder.runs.plan import without_hydra
from wavecoder.runs.saved import UnreadableError, read_run
from wavecoder.runs.settings import from_config
from wavecoder.training.checkpoints import write_checkpoint


def _begun(folder: Path, *overrides: str) -> Path:
    """A folder as Hydra leaves it."""
    (folder / ".hydra").mkdir(parents=True)
    config = composed(*overrides)
    OmegaConf.save(OmegaConf.create({"hydra": config.hydra}), folder / ".hydra" / "hydra.yaml")
    OmegaConf.save(config.hydra.overrides.task, folder / ".hydra" / "overrides.yaml")
    OmegaConf.save(without_hydra(config), folder / ".hydra" / "config.yaml")
    return folder


def test_a_folder_stands_for_the_choices_of_its_run(tmp_path: Path) -> None:
    run = _begun(tmp_path / "relu,it's=1 [a]", "activation=relu", "latent=2", "seed=3", "extend=true")
    expanded = resume.expand([f"run={run}", "threads=1", "seed=4"])
    assert expanded[0] == "--config-name=train"
    assert expanded[2:] == ["activation=relu", "latent='2'", "threads=1", "seed=4"]
    assert OverridesParser.create().parse_override(expanded[1]).value() == str(run)
    assert resume.expand(["seed=4"]) == ["seed=4"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run=nothing"], "run=nothing: no such folder; must be that of a run"),
        (["run=file"], "run=file: not a folder; must be that of a run"),
        (["run=empty"], "run=empty: not the folder of a run; it has no .hydra/overrides.yaml"),
        (["-m", "run=begun"], "-m: must be left out beside run=begun, which resumes the one run in that folder"),
        (["run=begun", "sweep=s"], "sweep=s: must be left out beside run=begun, which resumes the one run in that folder"),
        (["run=begun", "run=empty"], "run=empty: must be left out beside run=begun, which resumes the one run in that folder"),
    ],
)
def test_what_is_not_the_folder_of_a_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("empty").mkdir()
    _begun(Path("begun"))
    with pytest.raises(SettingError) as error:
        resume.expand(arguments)
    assert str(error.value) == said


@pytest.mark.parametrize("last", ["runtime:", "job:", "overrides:"])
def test_a_cut_file_of_hydras_is_named(tmp_path: Path, last: str) -> None:
    file = _begun(tmp_path / "run") / ".hydra" / "hydra.yaml"
    text = file.read_text()
    cut = text[: text.index(f" {last}\n") + len(last) + 2]
    for damaged in (cut, f"{cut}  verbose: false\n"):
        file.write_text(damaged)
        with pytest.raises(SettingError) as error:
            resume.expand([f"run={tmp_path / 'run'}"])
        assert str(error.value) == f"{file}: is damaged, so the run cannot be resumed by its folder"


@pytest.mark.parametrize("name", ["overrides", "hydra"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"a: 1", b"- [1]", b"\xff\xfe\x00", b"!!python/object/apply:os.getcwd []", b"[&a seed=1, *a]", b"[--info=all]"],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    file = _begun(tmp_path / "run") / ".hydra" / f"{name}.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingError) as error:
        resume.expand([f"run={tmp_path / 'run'}"])
    assert str(error.value) == f"{file}: is damaged, so the run cannot be resumed by its folder"


@pytest.mark.parametrize("content", [b"", b"a: [", b"a: &a 1\nb: *a"])
def test_a_folder_with_a_damaged_configuration_is_refused(tmp_path: Path, content: bytes) -> None:
    file = _begun(tmp_path / "run") / ".hydra" / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingError) as error:
        resume.expand([f"run={tmp_path / 'run'}"])
    assert str(error.value) == f"{file}: is damaged, so the run cannot be resumed by its folder"


SIZE = ("data.train_size=640", "data.batch_size=64")
SIX = "trainer.max_epochs=6"
MORE = (*SIZE, "trainer.max_epochs=60", "extend=true")


def _complete(folder: Path, *overrides: str) -> Path:
    _begun(folder, *SIZE, SIX, *overrides)
    record = made_up_record([0.5]) | {"config_fingerprint": results.fingerprint(composed(*SIZE, SIX, *overrides))}
    results.write_results(folder, record | {"timing": record["timing"] | {"steps": 60}})
    (folder / "checkpoints").mkdir()
    (folder / results.LAST_CHECKPOINT).touch()
    return folder


def _check(folder: Path, *overrides: str) -> None:
    config: Any = composed(*overrides)
    resume.check(config, from_config(config), folder)


def test_more_epochs_of_a_complete_run_extend_it(tmp_path: Path) -> None:
    run = _complete(tmp_path / "run")
    _check(run, *MORE)
    assert resume.is_extension(composed(*MORE), results.read_record(run))
    assert not resume.is_extension(composed(*MORE[:-1]), results.read_record(run))
    assert not resume.is_extension(composed(*MORE, "seed=1"), results.read_record(run))


@pytest.mark.parametrize(
    ("of_run", "change", "said"),
    [
        ((), "trainer.max_epochs=5", "trainer.max_epochs=5: must be above the 6 of the run that extend=true continues"),
        ((SIX,), "seed=1", "extend=true: seed differs from what its folder says, not trainer.max_epochs alone"),
        (
            ("scheduler=cosine",),
            "trainer.max_epochs=60",
            "extend=true: scheduler.T_max was filled in for the run's own epochs, at whose end the schedule has ended",
        ),
        (
            ("scheduler=cosine", "scheduler.T_max=${trainer.max_epochs}"),
            "trainer.max_epochs=60",
            "extend=true: scheduler.T_max differs from what its folder says, not trainer.max_epochs alone",
        ),
        (
            ("noise.train_std=[1,0.1]", "noise.train_between=schedule"),
            "trainer.max_epochs=60",
            "extend=true: noise.train_std=[1,0.1] has ended with the run's own epochs",
        ),
        (
            ("data=fresh", "data.fresh_sigma=[4,2.25]"),
            "trainer.max_epochs=60",
            "extend=true: data.fresh_sigma=[4,2.25] has ended with the run's own epochs",
        ),
    ],
)
def test_what_would_not_be_the_same_run_is_not_extended(tmp_path: Path, of_run: tuple[str, ...], change: str, said: str) -> None:
    run = _complete(tmp_path / "run", *(each for each in of_run if each != SIX))
    with pytest.raises(SettingError) as error:
        _check(run, *SIZE, *of_run, change, "extend=true")
    assert str(error.value) == said


def test_only_a_complete_run_with_its_checkpoint_is_extended(tmp_path: Path) -> None:
    run = _complete(tmp_path / "sweep" / "run")
    (tmp_path / "sweep" / "multirun.yaml").touch()
    with pytest.raises(SettingError, match="is a job of a sweep"):
        _check(run, *MORE)
    (run / results.LAST_CHECKPOINT).unlink()
    with pytest.raises(SettingError, match=r"last\.ckpt is missing"):
        _check(run, *MORE)
    results.write_results(run, {"status": "unfinished"})
    with pytest.raises(SettingError, match="holds no complete run"):
        _check(run, *MORE)


LONGER = "trainer.max_epochs=6: must be the 60 of the run in {}, which would be lost; a shorter run needs another folder"


def test_a_longer_run_is_not_begun_anew_by_a_shorter_command(tmp_path: Path) -> None:
    """As it would be by the command from before an extension, however often that was interrupted and resumed."""
    run, same = _begun(tmp_path / "run", *MORE), {"config_fingerprint": results.fingerprint(composed(*MORE))}
    config: Any = composed(*SIZE, SIX)
    results.write_results(run, {"status": "unfinished"} | same)
    _check(run, *SIZE, SIX)  # nothing is lost yet
    (run / results.LAST_CHECKPOINT).parent.mkdir(exist_ok=True)
    (run / results.LAST_CHECKPOINT).touch()
    complete = made_up_record([0.5]) | {"timing": {"fit_seconds": 1.0, "steps": 600}}
    stopped_early = complete | {"timing": {"fit_seconds": 1.0, "steps": 20}, "max_epochs": 60}
    for record in (complete, stopped_early, {"status": "unfinished"}, {"status": "unfinished", "max_epochs": 60}):
        results.write_results(run, record | same)
        with pytest.raises(SettingError) as error:
            resume.check(config, from_config(config), run)
        assert str(error.value) == LONGER.format(run)
    note_fingerprint(run, same["config_fingerprint"])
    (run / "results.json").write_text("{")
    with pytest.raises(SettingError, match="which would be lost"):
        _check(run, *SIZE, SIX)
    _check(run, *SIZE, SIX, "seed=1")  # another run, which begins anew as ever


def test_a_run_that_stopped_early_is_extended_by_what_it_was_to_have(tmp_path: Path) -> None:
    run = _complete(tmp_path / "run")
    record = results.read_record(run)
    results.write_results(run, record | {"max_epochs": 6, "timing": record["timing"] | {"steps": 20}})
    _check(run, *MORE)
    assert resume.is_extension(composed(*MORE), results.read_record(run))


def test_results_under_the_configuration_of_a_command_that_waited_are_not_loaded(tmp_path: Path) -> None:
    run, mine = _complete(tmp_path / "run"), tmp_path / "mine"
    results.write_results(run, results.read_record(run) | {"overrides": results.as_choices([*SIZE, SIX])})
    write_checkpoint({"state_dict": {}}, run / results.LAST_CHECKPOINT)
    assert read_run(run).settings.seed == 0
    shutil.rmtree(run / ".hydra")
    shutil.move(_begun(mine, *SIZE, SIX, "activation=relu") / ".hydra", run)
    with pytest.raises(UnreadableError, match=r"config\.yaml: is of another run than results\.json"):
        read_run(run)


def test_paths_in_a_run_are_relative_to_where_it_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for choice, begins_there in (("seed=1", False), ("logger.save_dir=curves", True), ("logger.save_dir=/curves", False)):
        run = _begun(tmp_path / choice.replace("/", "_"), choice)
        monkeypatch.chdir(tmp_path)
        hydra = OmegaConf.load(run / ".hydra" / "hydra.yaml")
        OmegaConf.update(hydra, "hydra.runtime.cwd", str(run), force_add=True)
        OmegaConf.save(hydra, run / ".hydra" / "hydra.yaml")
        resume.expand([f"run={run}"])
        assert (Path.cwd() == run) == begins_there, choice


def test_a_command_that_was_ended_before_its_run_began_is_named(tmp_path: Path) -> None:
    run = _begun(tmp_path / "run", *SIZE, SIX, "seed=1")
    overrides = results.as_choices([*SIZE, SIX])
    results.write_results(run, {"status": "unfinished", "config_fingerprint": "of seed 0", "overrides": overrides})
    resume._asked.append(run)
    with pytest.raises(SettingError) as error:
        _check(run, *SIZE, SIX, "seed=1")
    assert str(error.value) == f"run={run}: its last command was ended before its run began, and must be given again"
    (run / "results.json").unlink()
    _check(run, *SIZE, SIX, "seed=1")


@pytest.mark.slow
def test_an_extended_run_ends_as_one_of_that_length(run_train: Run, tmp_path: Path) -> None:
    job = (*(each for each in JOB if each not in ("logger=none", SIX)), "noise.train_std=0.1", "~callbacks.figures")
    for folder, epochs in (("whole", 6), ("run", 4)):
        done = run_train(*job, f"trainer.max_epochs={epochs}", f"hydra.run.dir={folder}")
        assert (done.returncode, done.stderr) == (0, "")
    done = run_train("run=run", SIX, "extend=true")
    assert (done.returncode, done.stderr) == (0, "")
    assert "run is continued up to epoch 6\n" in done.stdout
    assert record_of(tmp_path / "run")["timing"]["resumed_at_step"] == 40
    assert_same_end(tmp_path / "run", tmp_path / "whole")
    before = (tmp_path / "run" / "results.json").stat().st_mtime_ns
    refused = run_train(*job, "trainer.max_epochs=4", "hydra.run.dir=run")
    said = LONGER.replace("=6", "=4").replace("60", "6").format(tmp_path / "run")
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", f"error: {said}\n")
    done = run_train(*job, SIX, "extend=true", "hydra.run.dir=run")
    assert (done.returncode, done.stdout, done.stderr) == (0, "run is complete already, nothing to do\n", "")
    assert (tmp_path / "run" / "results.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_job_of_a_sweep_resumes_by_its_folder(run_train: Run, tmp_path: Path) -> None:
    sweep, choices = tmp_path / "outputs" / "sweeps" / "s", (*JOB, "latent=2", "activation=relu", HELD)
    hold(sweep)
    process = start(tmp_path, "-m", "sweep=s", *choices, environment=OWN_NETWORKS)
    until(lambda: list(sweep.glob("*/checkpoints/last.ckpt")), process)
    kill(process)
    release(sweep)
    (job,) = records(sweep)
    refused = run_train(f"run={sweep / job}", "seed=1", environment=OWN_NETWORKS)
    said = f"error: run={sweep / job}: seed differs from what its folder says, so it would be another run\n"
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", said)
    done = run_train(f"run={sweep / job}", environment=OWN_NETWORKS)
    assert (done.returncode, done.stderr) == (0, "")
    assert record_of(sweep / job)["timing"]["resumed_at_step"] > 0
    again = run_train("-m", "sweep=s", *choices, environment=OWN_NETWORKS)
    assert (again.returncode, again.stderr) == (0, "")
    assert "1 complete, 0 to run" in again.stdout
