import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import JOB, kill, only_run, run_command, run_script
from numpy import ndarray

from wavecoder.files import FileError, Recording, open_signals, read_rows
from wavecoder.runs.denoise import denoise
from wavecoder.runs.denoiser import Denoiser
from wavecoder.runs.load import Trained, load
from wavecoder.runs.settings import SettingError
from wavecoder.scaling import Scaling

RATE = 8000
GENERATOR = np.random.default_rng(0)
SINE = np.sin(0.1 * np.arange(5000))
NOISE = GENERATOR.normal(size=5000)
ROWS = np.sin(GENERATOR.normal(size=(12, 1)) * 2 * np.arange(100) * 0.1) + 0.3 * GENERATOR.normal(size=(12, 100))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("denoise")
    done = run_script("train.py", folder, *JOB, "trainer.max_epochs=20", "noise.train_std=0.3")
    assert done.returncode == 0, done.stderr
    return only_run(folder)


@pytest.fixture(scope="module")
def model(run: Path) -> Trained:
    return load(run)


def write_wav(path: Path, values: ndarray, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, values, RATE, subtype=subtype)
    return path


def by_hand(model: Trained, signal: ndarray, noise: float = 0.0) -> ndarray:
    """Overlapping windows without any of our code."""
    length, hop = model.signal_length, model.signal_length // 2
    hann = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
    starts = sorted({*range(0, len(signal) - length + 1, hop), len(signal) - length})
    sums, weights = np.zeros(len(signal)), np.zeros(len(signal))
    windows = np.stack([signal[s : s + length] for s in starts])
    for start, made in zip(starts, model.reconstruct(windows, noise), strict=True):
        sums[start : start + length] += hann * made
        weights[start : start + length] += hann
    return sums / weights


class TestInMemory:
    def test_signals_of_the_right_length_are_reconstructed(self, model: Trained) -> None:
        assert np.array_equal(model.denoise(ROWS), model.reconstruct(ROWS))
        tensor = torch.from_numpy(ROWS).view(3, 4, 100)
        assert torch.equal(model.denoise(tensor), model.reconstruct(tensor))
        assert np.array_equal(model.denoise(ROWS[0]), model.reconstruct(ROWS[0]))

    def test_longer_rows_go_through_windows_and_keep_their_level(self, model: Trained) -> None:
        y = (SINE + 0.1 * NOISE)[:1500].reshape(2, 3, 250)
        clean = model.denoise(y)
        assert clean.shape == y.shape
        assert clean.dtype == y.dtype
        np.testing.assert_allclose(clean[1, 2], by_hand(model, y[1, 2]), atol=1e-5)

    @pytest.mark.parametrize("factor", [1e-3, 1.0, 50.0])
    def test_a_recording_has_any_level(self, model: Trained, factor: float) -> None:
        y = SINE + 0.1 * NOISE
        clean = model.denoise(y * factor, noise=0.1 * factor)
        np.testing.assert_allclose(clean / factor, model.denoise(y, noise=0.1), atol=1e-4)
        level = np.sqrt(model.moments.second_moment.trace().item() / 100 / (np.square(y).mean() - 0.01))
        np.testing.assert_allclose(clean, factor * by_hand(model, y * level) / level, atol=2e-3 * factor)

    def test_runs_that_scale_signals_do_so_here(self, run: Path) -> None:
        """The level is the scaling's; noise and errors come out in the units of the input."""
        for scaling in (Scaling("signal"), Scaling("set", 0.2, 2.0)):
            model = load(run)
            model.scaling = scaling
            y = torch.from_numpy(3 + 2 * (SINE + 0.3 * NOISE)).float()
            np.testing.assert_allclose(model.denoise(y, noise=0.6), by_hand(model, y.numpy(), 0.6), atol=1e-4)
            denoiser = Denoiser(model, None, "keep")
            denoiser.look(y.unfold(0, 100, 50))
            assert denoiser.judge().noise == pytest.approx(0.6, rel=0.1)
            with pytest.raises(ValueError, match="level=match: the run scales signals by itself"):
                Denoiser(model, None, "match")

    def test_mistakes_are_named(self, run: Path, model: Trained) -> None:
        gap = ROWS.copy()
        gap[3, 7] = np.nan
        for make, said in {
            lambda: model.denoise(ROWS[:, :99]): r"signals of shape \[12, 99\]: must have 100 samples or more",
            lambda: model.denoise(np.array(1.0)): r"signals of shape \[\]",
            lambda: model.denoise(ROWS[:0]): r"signals of shape \[0, 100\]: there are none",
            lambda: model.denoise(ROWS.astype(str)): "signals of type <U.*: must be real numbers",
            lambda: model.denoise(gap): r"value at \[3, 7\] is nan: must be a finite number",
            lambda: model.denoise(torch.from_numpy(gap)): r"value at \[3, 7\] is nan",
            lambda: model.denoise(ROWS, noise=-1.0): "noise=-1.0: must be a number, 0 or more",
            lambda: load(run, "all").denoise(ROWS): "seed=all cannot denoise",
        }.items():
            with pytest.raises(ValueError, match=said):
                make()  # type: ignore[no-untyped-call]
        diverged = load(run, 1)
        diverged.results["metrics"]["val/mse"]["per_seed"][1] = None
        with pytest.raises(ValueError, match="seed=1: it diverged"):
            diverged.denoise(ROWS)
        diverged.results["metrics"]["val/mse"]["per_seed"] = [None] * len(diverged.results["metrics"]["val/mse"]["per_seed"])
        with pytest.raises(ValueError, match="seed=1: all seeds diverged"):
            diverged.denoise(ROWS)

    @pytest.mark.parametrize("scaling", [Scaling(), Scaling("set", 0.2, 2.0)])
    def test_the_error_to_be_expected_is_about_right(self, run: Path, scaling: Scaling) -> None:
        model = load(run)
        model.scaling = scaling
        clean = model.source.validation_set("cpu").evaluate(model.source.times("cpu")) * scaling.scale + scaling.offset  # type: ignore[union-attr]
        for std in (0.0, 0.3, 1.0):
            noisy = clean + std * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
            denoiser = Denoiser(model, None, "keep")
            denoiser.look(noisy)
            actual = (model.reconstruct(noisy) - clean).square().mean().sqrt().item()
            assert denoiser.judge().expected_error == pytest.approx(actual, rel=0.25)

    def test_what_is_found(self, model: Trained) -> None:
        def found(y: ndarray, level: Any = "match") -> Any:
            denoiser = Denoiser(model, None, level)
            denoiser.look(torch.from_numpy(y).float().unfold(0, 100, 50))
            return denoiser.judge()

        for std in (0.1, 1.0):
            usual = found(SINE + std * NOISE)
            assert usual.noise == pytest.approx(std, rel=0.06)
            assert not usual.foreign
            assert not usual.drowned
        assert found(SINE).noise == 0
        fast = found(np.sin(np.arange(5000) * 0.9) + 0.1 * NOISE)
        assert fast.noise == pytest.approx(0.1, rel=0.2)
        assert fast.drowned is False
        assert found(NOISE).drowned


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


FORMATS: dict[str, Callable[[Path, ndarray], object]] = {
    ".npy": np.save,
    ".npz": lambda path, values: np.savez(path, mine=values, labels=np.arange(len(values)), extra=np.array("a text")),
    ".csv": lambda path, values: np.savetxt(path, values, delimiter=","),
    ".tsv": lambda path, values: np.savetxt(path, values, delimiter="\t"),
}


class TestFiles:
    def test_rows_of_another_length_go_through_windows_and_it_is_said(self, run: Path, tmp_path: Path, capsys: Any) -> None:
        np.save(tmp_path / "in.npy", np.tile(ROWS, 2))
        denoise(run, tmp_path / "in.npy", tmp_path / "out.npy")
        assert "12 signals of 200 samples, in windows of 100, denoised by" in printed(capsys)

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_rows_of_every_kind(self, run: Path, model: Trained, tmp_path: Path, suffix: str, capsys: Any) -> None:
        key = "mine" if suffix == ".npz" else None
        FORMATS[suffix](tmp_path / f"in{suffix}", ROWS)
        denoise(run, tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", key=key)
        said = printed(capsys)
        assert f"out{suffix}: 12 signals of 100 samples, denoised by gelu, latent 5, seed {model.seed}; picture: " in said
        assert "level: kept" in said
        noise = re.search(r"noise: standard deviation (\S+) \(estimated\)", said)
        assert noise is not None
        assert float(noise[1]) == pytest.approx(0.3, rel=0.1)
        np.testing.assert_allclose(read_rows(tmp_path / f"out{suffix}", key).values, model.reconstruct(ROWS), atol=1e-6)
        assert {file.name for file in tmp_path.iterdir()} == {f"in{suffix}", f"out{suffix}", "out.png"}
        assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")

    def test_parquet_through_the_command(self, run: Path, model: Trained, tmp_path: Path) -> None:
        import pandas as pd

        pd.DataFrame({"a": list(ROWS), "b": list(2 * ROWS)}).to_parquet(tmp_path / "in.parquet")
        done = run_script("denoise.py", tmp_path, str(run), "in.parquet", "out.parquet", "--key", "b", "--seed", "mean")
        assert done.returncode == 0, done.stderr
        assert "the mean of 2 seeds" in done.stdout
        expected = load(run, "mean").reconstruct(2 * ROWS)
        np.testing.assert_allclose(read_rows(tmp_path / "out.parquet").values, expected, atol=1e-6)

    def test_what_else_is_in_a_file_is_kept(self, run: Path, tmp_path: Path) -> None:
        FORMATS[".npz"](tmp_path / "in.npz", ROWS)
        denoise(run, tmp_path / "in.npz", tmp_path / "out.npz", key="mine")
        with np.load(tmp_path / "out.npz") as arrays:
            assert set(arrays) == {"mine", "labels", "extra"}
            assert arrays["extra"] == "a text"
            assert arrays["mine"].shape == ROWS.shape
            assert arrays["labels"].tolist() == list(range(12))

        names = ["label", *(f"x{number}" for number in range(100))]
        lines = [f'"kind, {number}",' + ",".join(map(str, row)) for number, row in enumerate(ROWS)]
        (tmp_path / "in.csv").write_text("\n".join([",".join(names), *lines]) + "\n")
        denoise(run, tmp_path / "in.csv", tmp_path / "out.csv", force=True)
        first, second, *_ = (tmp_path / "out.csv").read_text().splitlines()
        assert first == ",".join(names)
        assert second.startswith('"kind, 0",')
        np.testing.assert_array_equal(read_rows(tmp_path / "out.csv").labels, read_rows(tmp_path / "in.csv").labels)

    @pytest.mark.parametrize(("suffix", "subtype"), [(".wav", "PCM_16"), (".wav", "FLOAT"), (".flac", "PCM_24")])
    def test_recordings_keep_rate_kind_and_length(
        self, run: Path, model: Trained, tmp_path: Path, suffix: str, subtype: str, capsys: Any
    ) -> None:
        y = 0.4 * SINE + 0.1 * NOISE
        source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
        soundfile.write(source, y, RATE, subtype=subtype)
        denoise(run, source, target)
        information = soundfile.info(target)
        assert (information.samplerate, information.subtype, information.frames) == (RATE, subtype, len(y))
        clean = soundfile.read(target)[0]
        np.testing.assert_allclose(clean, model.denoise(soundfile.read(source)[0]), atol=1e-4)
        said = printed(capsys)
        assert "a recording of 5,000 samples at 8,000 Hz (0.6 s)" in said
        assert "note: the run's unit of time has no name" in said
        assert re.search(r"level: times [\d.]+ for the network", said)

    @pytest.mark.parametrize("suffix", [".npy", ".csv"])
    def test_one_long_column(self, run: Path, model: Trained, tmp_path: Path, suffix: str) -> None:
        y = SINE + 0.1 * NOISE
        FORMATS[suffix](tmp_path / f"in{suffix}", y)
        denoise(run, tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", noise=0.1)
        result = open_signals(tmp_path / f"out{suffix}")
        assert isinstance(result, Recording)
        np.testing.assert_allclose(np.concatenate(list(result.blocks(999))), model.denoise(y, 0.1), atol=1e-5)

    def test_a_long_recording_in_blocks_is_what_it_is_in_memory(
        self, run: Path, model: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        np.save(tmp_path / "in.npy", (SINE + 0.1 * NOISE).astype(np.float32))
        monkeypatch.setattr("wavecoder.runs.denoise.BLOCK", 333)
        denoise(run, tmp_path / "in.npy", tmp_path / "out.npy", noise=0.1)
        np.testing.assert_allclose(np.load(tmp_path / "out.npy"), model.denoise(SINE + 0.1 * NOISE, 0.1), atol=1e-5)

    def test_windows_for_short_signals(self, run: Path, model: Trained, tmp_path: Path) -> None:
        np.save(tmp_path / "short.npy", ROWS[:, :60])
        with pytest.raises(FileError, match=r"short.npy: rows have 60 samples and the run's signals have 100; --windows"):
            denoise(run, tmp_path / "short.npy", tmp_path / "out.npy")
        denoise(run, tmp_path / "short.npy", tmp_path / "out.npy", windows=True)
        reflected = np.concatenate([ROWS[:, :60], ROWS[:, 58:18:-1]], axis=1)
        np.testing.assert_allclose(np.load(tmp_path / "out.npy"), model.reconstruct(reflected)[:, :60], atol=1e-6)

    def test_what_cannot_be_trusted_is_said(self, run: Path, tmp_path: Path, capsys: Any) -> None:
        write_wav(tmp_path / "noise.wav", 0.1 * NOISE)
        denoise(run, tmp_path / "noise.wav", tmp_path / "out.wav")
        assert "\nwarning: hardly any signal is seen above the noise; the result should not be trusted\n" in printed(capsys)
        write_wav(tmp_path / "sine.wav", 0.999 * SINE)
        denoise(run, tmp_path / "sine.wav", tmp_path / "out.wav", level="keep", force=True)
        said = printed(capsys)
        assert "noise: standard deviation below" in said
        assert "\nwarning: the error to be expected is larger than the noise in the input" in said

    def test_a_network_that_knows_its_signals_is_surprised_by_others(
        self, run: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With an error of 0.003 of its own, which takes longer to train than a test has."""
        monkeypatch.setattr("wavecoder.runs.denoiser._val_mse", lambda _: 0.003)
        write_wav(tmp_path / "fast.wav", 0.5 * np.sin(np.arange(5000) * 0.9))
        denoise(run, tmp_path / "fast.wav", tmp_path / "out.wav")
        assert re.search(r"\nwarning: the input is unlike the training signals, reconstructed with \S+ times", printed(capsys))

    def test_clipped_samples_are_counted(self, run: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Denoiser, "clean", lambda self, windows: 3 * windows)
        write_wav(tmp_path / "in.wav", 0.5 * SINE)
        denoise(run, tmp_path / "in.wav", tmp_path / "out.wav")
        assert re.search(
            r"\nwarning: [\d,]+ samples are beyond ±1, which out.wav cannot hold; they are clipped\n", printed(capsys)
        )


def test_sampling_steps_are_compared(run: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wav(tmp_path / "in.wav", 0.5 * SINE)
    for dt, said in {
        1 / RATE: None,
        1 / 4000: "warning: the recording's sampling step is 0.000125 s and that of the training signals 0.00025 (data.dt)",
        1.0: "note: the run does not know its sampling rate (data.dt=1)",
    }.items():

        def load_as_of_file(*arguments: Any, dt: float = dt) -> Trained:
            model = load(*arguments)
            _ = model.moments
            model.settings.data.path, model.dt = "a_file.npy", dt
            return model

        monkeypatch.setattr("wavecoder.runs.denoise.load", load_as_of_file)
        denoise(run, tmp_path / "in.wav", tmp_path / "out.wav", force=True)
        lines = printed(capsys)
        assert (said in lines) if said else ("data.dt" not in lines and "unit of time" not in lines)


def test_bad_input_is_one_line_and_nothing_is_left(run: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.npy"
    np.save(good, ROWS)
    gap = ROWS.copy()
    gap[2, 5] = np.nan
    np.save(tmp_path / "gap.npy", gap)
    recording = SINE.astype(np.float32)
    recording[4321] = np.inf
    np.save(tmp_path / "gap_in_recording.npy", recording)
    write_wav(tmp_path / "short.wav", SINE[:99])
    (tmp_path / "there.npy").write_text("mine")
    (tmp_path / "picture.png").write_text("mine")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    cases: list[tuple[str, str, dict[str, Any], str]] = [
        ("missing.npy", "out.npy", {}, "missing.npy: No such file"),
        ("good.npy", "out.txt", {}, "out.txt: files of .npy, .npz"),
        ("good.npy", "there.npy", {}, "there.npy: exists already; --force replaces it"),
        ("good.npy", "picture.npy", {}, "picture.png: exists already; --force replaces it"),
        ("good.npy", "no/out.npy", {}, "out.npy: there is no folder"),
        ("good.npy", "out.wav", {}, "out.wav: holds one recording"),
        ("good.npy", "out.npy", {"key": "a"}, "good.npy: holds a single array and none named a"),
        ("good.npy", "out.npy", {"seed": 7}, "seed=7: must be best"),
        ("good.npy", "out.npy", {"seed": "all"}, "seed=all cannot denoise"),
        ("good.npy", "out.npy", {"device": "nowhere"}, "device=nowhere"),
        ("gap.npy", "out.npy", {}, "gap.npy: row 2, sample 5 (counted from 0) is nan"),
        ("gap_in_recording.npy", "out.npy", {}, "gap_in_recording.npy: sample 4321 (counted from 0) is inf"),
        ("short.wav", "out.wav", {}, "short.wav: the recording has 99 samples and the run's signals have 100"),
    ]
    with pytest.raises(FileError, match=r"^\.: is a folder; a file is needed"):
        denoise(run, good, Path())
    for source, target, choices, said in cases:
        with pytest.raises((FileError, SettingError, OSError)) as caught:
            denoise(run, tmp_path / source, tmp_path / target, **choices)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before, said


def test_the_command_answers_mistakes_in_one_line(run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", ROWS[:, :50])
    command = str(Path(sys.executable).with_name("wavecoder"))
    for arguments, said in {
        ("short.npy", "out.npy"): "error: short.npy: rows have 50 samples",
        ("short.npy", "out.npy", "--noise", "-1"): "error: argument --noise: -1: must be a number, 0 or more",
        ("short.npy", "out.npy", "--level", "loud"): "error: argument --level: invalid choice",
        ("short.npy",): "error: the following arguments are required: output",
    }.items():
        done = run_command(tmp_path, command, "denoise", str(run), *arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith(said)
        assert done.stderr.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["short.npy"]


SLOWLY = """
import sys, time
from wavecoder.runs import commands, denoiser
clean, left = denoiser.Denoiser.clean, iter(range(3))
def slowly(self, windows):
    print("cleaning", flush=True)
    if next(left) == 2:
        time.sleep(1000)
    return clean(self, windows)
denoiser.Denoiser.clean = slowly
sys.argv[0] = "wavecoder denoise"
commands.denoise()
"""


@pytest.mark.parametrize(
    ("sent", "status"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), (signal.SIGKILL, -signal.SIGKILL)],
    ids=lambda each: str(each),
)
def test_half_a_file_is_never_left(run: Path, tmp_path: Path, sent: signal.Signals, status: int) -> None:
    write_wav(tmp_path / "in.wav", np.tile(0.4 * SINE, 100))
    command = [sys.executable, "-c", SLOWLY, str(run), "in.wav", "out.wav"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline() == "cleaning\n"
        process.send_signal(sent)
        _, errors = process.communicate(timeout=240)
    finally:
        kill(process)  # type: ignore[arg-type]
    assert process.returncode == status
    left = {file.name for file in tmp_path.iterdir()} - {"in.wav"}
    if sent == signal.SIGKILL:
        assert all(name.startswith(".") and not name.endswith(".wav") for name in left)
    else:
        assert left == set()
        assert errors == ("\nInterrupted\n" if sent == signal.SIGINT else "")


MEASURED = """
import resource, sys
from pathlib import Path
import pandas, soundfile
from wavecoder.runs.denoise import denoise
if len(sys.argv) > 1:
    denoise(*map(Path, sys.argv[1:]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
"""


@pytest.mark.slow
def test_ten_minutes_need_little_memory(run: Path, tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "in.wav", "w", RATE, 1, "PCM_16") as file:
        for second in range(600):
            file.write(0.4 * np.sin(0.1 * (np.arange(RATE) + second * RATE)) + 0.1 * GENERATOR.normal(size=RATE))

    def peak(*arguments: str) -> int:
        done = run_command(tmp_path, sys.executable, "-c", MEASURED, *arguments)
        assert done.returncode == 0, done.stderr
        return int(done.stderr.splitlines()[-1])

    assert peak(str(run), "in.wav", "out.wav") - peak() < 200
    assert soundfile.info(tmp_path / "out.wav").frames == 600 * RATE
