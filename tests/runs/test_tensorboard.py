"""What TensorBoard is shown of runs: their names, and references once."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from wavecoder.runs.commands import tensorboard
from wavecoder.runs.plan import Job
from wavecoder.runs.store import Store
from wavecoder.runs.tensorboard import Links, describe_choice, varied
from wavecoder.training.curves import TensorBoardCurves


def made_up_run(folder: Path, choices: Mapping[str, str], references: Mapping[str, float], steps: int = 10) -> None:
    """A run's folder with curves: its own, and those of references with these errors."""
    curves = TensorBoardCurves(folder, name="tb", version="autoencoder")
    for label, error in references.items():
        curves.log_reference(label, {"val/mse": error}, steps)
    Path(curves.log_dir).mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"status": "unfinished", "overrides": choices}))


def names(folder: Path, links: Path) -> dict[str, str]:
    """The links' names, and where in the folder they lead."""
    links.mkdir(exist_ok=True)
    Links(folder, links).refresh()
    return {link.name: str(link.readlink().relative_to(folder.resolve())) for link in links.iterdir()}


def test_it_is_served_to_this_machine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[str, ...]] = []
    monkeypatch.setattr("tensorboard.program.TensorBoard.configure", lambda _, arguments: served.append(arguments))
    monkeypatch.setattr("tensorboard.program.TensorBoard.main", lambda _: 0)
    made_up_run(tmp_path / "run", {}, {"SVD": 0.3})
    monkeypatch.setattr("sys.argv", ["wavecoder tensorboard", str(tmp_path), "--port=0"])
    with pytest.raises(SystemExit, match="0"):
        tensorboard()
    assert served[0][served[0].index("--host") + 1] == "localhost"


def test_a_name_from_elsewhere_is_a_link_in_the_folder_of_links(tmp_path: Path) -> None:
    for number, name in enumerate(("..", "../x", "/y", "a\x1b[31m\n")):
        made_up_run(tmp_path / "mine" / str(number), {"model": name}, {})
    found = names(tmp_path / "mine", tmp_path / "links")
    assert sorted(found) == ["-x", "-y", "a\\x1b[31m\\n", "autoencoder"]


def test_jobs_by_what_differs_and_references_once(tmp_path: Path) -> None:
    sweep = tmp_path / "mine"
    for activation in ("relu", "tanh"):
        for latent, error in (("1", 0.5), ("5", 0.3)):
            choices = {"sweep": "mine", "data.train_size": "640", "activation": activation, "latent": latent}
            steps = 99 if activation == "tanh" else 10
            made_up_run(sweep / f"{activation},{latent}", choices, {"SVD": error * (1 + 1e-8), "Bayes": 0.1}, steps)
    assert names(sweep, tmp_path / "links") == {
        **{f"{activation} latent={k}": f"{activation},{k}/tb/autoencoder" for activation in ("relu", "tanh") for k in (1, 5)},
        "SVD latent=1": "tanh,1/tb/SVD",  # the longest
        "SVD latent=5": "tanh,5/tb/SVD",
        "Bayes": "tanh,1/tb/Bayes",
    }


def test_references_that_depend_on_more_than_the_latent(tmp_path: Path) -> None:
    for size, noise, error in (("100", "low", 0.1), ("100", "high", 0.2), ("500", "low", 0.3), ("500", "high", 0.4)):
        made_up_run(tmp_path / size / noise, {"data.train_size": size, "noise": noise}, {"Wiener": error}, 10)
    found = names(tmp_path / "100", tmp_path / "links")
    assert set(found) == {"low", "high", "Wiener low", "Wiener high"}
    assert {name for name in names(tmp_path, tmp_path / "more") if name.startswith("Wiener")} == {
        f"Wiener train_size={size} {noise}" for size in (100, 500) for noise in ("low", "high")
    }


def test_names_do_not_change_while_a_sweep_runs(tmp_path: Path) -> None:
    sweep, links = tmp_path / "mine", tmp_path / "links"
    sweep.mkdir()
    with Store(sweep) as store:
        store.remember({Job(f"lr={rate}", (f"optimizer.lr={rate}", "latent=5"), ""): "" for rate in ("1e-3", "1e-2")})
    made_up_run(sweep / "lr=1e-3", {"optimizer.lr": "1e-3", "latent": "5"}, {"SVD": 0.3})
    assert set(names(sweep, links)) == {"lr=1e-3", "SVD"}
    made_up_run(sweep / "lr=1e-2", {"optimizer.lr": "1e-2", "latent": "5"}, {"SVD": 0.3})
    assert set(names(sweep, links)) == {"lr=1e-3", "lr=1e-2", "SVD"}


def test_many_sweeps_and_single_runs(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    for sweep in ("one", "two"):
        made_up_run(outputs / "sweeps" / sweep / "activation=relu", {"activation": "relu"}, {"SVD": 0.3})
        Store(outputs / "sweeps" / sweep).__exit__()
    made_up_run(outputs / "sweeps" / "one" / ".stacks" / "seeds", {"activation": "relu", "num_seeds": "4"}, {"SVD": 0.3})
    made_up_run(outputs / "runs" / "2026-01-02" / "09-30-00_tanh_latent5", {"activation": "tanh"}, {"SVD": 0.3})
    found = names(outputs, tmp_path / "links")
    runs = {"relu one", "relu two", "relu num_seeds=4 one", "tanh 2026-01-02 09-30-00"}
    assert set(found) == {*runs, "SVD"}


def test_one_run_that_has_just_begun(tmp_path: Path) -> None:
    (tmp_path / "run" / "tb" / "autoencoder").mkdir(parents=True)
    (tmp_path / "run" / "tb" / ".SVD").mkdir()  # which is being written
    assert names(tmp_path / "run", tmp_path / "links") == {"autoencoder": "tb/autoencoder"}


def test_runs_that_are_removed(tmp_path: Path) -> None:
    made_up_run(tmp_path / "s" / "a", {"activation": "relu"}, {})
    made_up_run(tmp_path / "s" / "b", {"activation": "tanh"}, {})
    assert set(names(tmp_path / "s", tmp_path / "links")) == {"relu", "tanh"}
    (tmp_path / "s" / "b" / "tb" / "autoencoder").rmdir()
    assert set(names(tmp_path / "s", tmp_path / "links")) == {"autoencoder"}


def test_choices_in_few_letters() -> None:
    choices = [
        {"activation": "relu", "optimizer.lr": "1e-3", "seed": "3", "model._target_": "own.Residual", "data.size": "1"},
        {"activation": "relu", "optimizer.lr": "1e-2", "seed": "4", "model.size": "2"},
    ]
    keys = varied(choices)
    assert keys == ["optimizer.lr", "seed", "model._target_", "data.size", "model.size"]
    told = [describe_choice(key, value, keys) for key, value in (choices[0] | choices[1]).items()]
    assert told == ["relu", "lr=1e-2", "seed=4", "Residual", "data.size=1", "model.size=2"]


@pytest.mark.parametrize(("made", "said"), [(True, "nothing to show: no run in it has curves"), (False, "no such folder")])
def test_nothing_to_show_is_one_line(
    made: bool, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if made:
        (tmp_path / "mine" / "job").mkdir(parents=True)
    monkeypatch.setattr("sys.argv", ["wavecoder tensorboard", str(tmp_path / "mine")])
    with pytest.raises(SystemExit) as left:
        tensorboard()
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'mine'}: {said}")


@pytest.mark.parametrize(
    ("host", "port", "why"),
    [
        ("127.0.0.1", None, "--port {port}: is taken on 127.0.0.1; choose another, or 0 for one that is free"),
        ("localhost", 70000, "--port 70000: must be 0 to 65535; 0 takes one that is free"),
        ("localhost", -1, "--port -1: must be 0 to 65535; 0 takes one that is free"),
        ("no..host", 0, "--host no..host: there is no such host"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: str, port: int | None, why: str
) -> None:
    made_up_run(tmp_path, {}, {})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] if port is None else port
        monkeypatch.setattr("sys.argv", ["wavecoder tensorboard", str(tmp_path), "--host", host, f"--port={port}"])
        with pytest.raises(SystemExit) as ended:
            tensorboard()
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: {why.format(port=port)}")
    assert (shown.out, shown.err.count("\n")) == ("", 1)
