"""Files of signals: `wavecoder denoise`, called as a function."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from noisy_signals import NOISE, RATE, ROWS, SINE, write_wav
from numpy import ndarray
from processes import run_script

from wavecoder.files import FileError, Recording, open_signals, read_rows
from wavecoder.runs.denoise import denoise
from wavecoder.runs.denoiser import Denoiser
from wavecoder.runs.limits import SettingError
from wavecoder.runs.load import Trained, load

pytestmark = pytest.mark.xdist_group("denoise")  # one network for all


@pytest.fixture(scope="module")
def model(denoising_run: Path) -> Trained:
    return load(denoising_run)


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
    def test_rows_of_another_length_go_through_windows_and_it_is_said(
        self, denoising_run: Path, tmp_path: Path, capsys: Any
    ) -> None:
        np.save(tmp_path / "in.npy", np.tile(ROWS, 2))
        denoise(denoising_run, tmp_path / "in.npy", tmp_path / "out.npy")
        assert "12 signals of 200 samples, in windows of 100, denoised by" in printed(capsys)

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_rows_of_every_kind(self, denoising_run: Path, model: Trained, tmp_path: Path, suffix: str, capsys: Any) -> None:
        key = "mine" if suffix == ".npz" else None
        FORMATS[suffix](tmp_path / f"in{suffix}", ROWS)
        denoise(denoising_run, tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", key=key)
        said = printed(capsys)
        assert f"out{suffix}: 12 signals of 100 samples, denoised by gelu, latent 5, seed {model.seed}; picture: " in said
        assert "level: kept" in said
        noise = re.search(r"noise: standard deviation (\S+) \(estimated\)", said)
        assert noise is not None
        assert float(noise[1]) == pytest.approx(0.3, rel=0.1)
        np.testing.assert_allclose(read_rows(tmp_path / f"out{suffix}", key).values, model.reconstruct(ROWS), atol=1e-6)
        assert {file.name for file in tmp_path.iterdir()} == {f"in{suffix}", f"out{suffix}", "out.png"}
        assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")

    def test_parquet_through_the_command(self, denoising_run: Path, model: Trained, tmp_path: Path) -> None:
        import pandas as pd

        pd.DataFrame({"a": list(ROWS), "b": list(2 * ROWS)}).to_parquet(tmp_path / "in.parquet")
        done = run_script("denoise.py", tmp_path, str(denoising_run), "in.parquet", "out.parquet", "--key", "b", "--seed", "mean")
        assert done.returncode == 0, done.stderr
        assert "the mean of 2 seeds" in done.stdout
        expected = load(denoising_run, "mean").reconstruct(2 * ROWS)
        np.testing.assert_allclose(read_rows(tmp_path / "out.parquet").values, expected, atol=1e-6)

    def test_what_else_is_in_a_file_is_kept(self, denoising_run: Path, tmp_path: Path) -> None:
        FORMATS[".npz"](tmp_path / "in.npz", ROWS)
        denoise(denoising_run, tmp_path / "in.npz", tmp_path / "out.npz", key="mine")
        with np.load(tmp_path / "out.npz") as arrays:
            assert set(arrays) == {"mine", "labels", "extra"}
            assert arrays["extra"] == "a text"
            assert arrays["mine"].shape == ROWS.shape
            assert arrays["labels"].tolist() == list(range(12))

        names = ["label", *(f"x{number}" for number in range(100))]
        lines = [f'"kind, {number}",' + ",".join(map(str, row)) for number, row in enumerate(ROWS)]
        (tmp_path / "in.csv").write_text("\n".join([",".join(names), *lines]) + "\n")
        denoise(denoising_run, tmp_path / "in.csv", tmp_path / "out.csv", force=True)
        first, second, *_ = (tmp_path / "out.csv").read_text().splitlines()
        assert first == ",".join(names)
        assert second.startswith('"kind, 0",')
        np.testing.assert_array_equal(read_rows(tmp_path / "out.csv").labels, read_rows(tmp_path / "in.csv").labels)

    @pytest.mark.parametrize(("suffix", "subtype"), [(".wav", "PCM_16"), (".wav", "FLOAT"), (".flac", "PCM_24")])
    def test_recordings_keep_rate_kind_and_length(
        self, denoising_run: Path, model: Trained, tmp_path: Path, suffix: str, subtype: str, capsys: Any
    ) -> None:
        y = 0.4 * SINE + 0.1 * NOISE
        source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
        soundfile.write(source, y, RATE, subtype=subtype)
        denoise(denoising_run, source, target)
        information = soundfile.info(target)
        assert (information.samplerate, information.subtype, information.frames) == (RATE, subtype, len(y))
        clean = soundfile.read(target)[0]
        np.testing.assert_allclose(clean, model.denoise(soundfile.read(source)[0]), atol=1e-4)
        said = printed(capsys)
        assert "a recording of 5,000 samples at 8,000 Hz (0.6 s)" in said
        assert "note: the run's unit of time has no name" in said
        assert re.search(r"level: times [\d.]+ for the network", said)

    @pytest.mark.parametrize("suffix", [".npy", ".csv"])
    def test_one_long_column(self, denoising_run: Path, model: Trained, tmp_path: Path, suffix: str) -> None:
        y = SINE + 0.1 * NOISE
        FORMATS[suffix](tmp_path / f"in{suffix}", y)
        denoise(denoising_run, tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", noise=0.1)
        result = open_signals(tmp_path / f"out{suffix}")
        assert isinstance(result, Recording)
        np.testing.assert_allclose(np.concatenate(list(result.blocks(999))), model.denoise(y, 0.1), atol=1e-5)

    def test_a_long_recording_in_blocks_is_what_it_is_in_memory(
        self, denoising_run: Path, model: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        np.save(tmp_path / "in.npy", (SINE + 0.1 * NOISE).astype(np.float32))
        monkeypatch.setattr("wavecoder.runs.denoise.BLOCK", 333)
        denoise(denoising_run, tmp_path / "in.npy", tmp_path / "out.npy", noise=0.1)
        np.testing.assert_allclose(np.load(tmp_path / "out.npy"), model.denoise(SINE + 0.1 * NOISE, 0.1), atol=1e-5)

    def test_windows_for_short_signals(self, denoising_run: Path, model: Trained, tmp_path: Path) -> None:
        np.save(tmp_path / "short.npy", ROWS[:, :60])
        with pytest.raises(FileError, match=r"short.npy: rows have 60 samples and the run's signals have 100; --windows"):
            denoise(denoising_run, tmp_path / "short.npy", tmp_path / "out.npy")
        denoise(denoising_run, tmp_path / "short.npy", tmp_path / "out.npy", windows=True)
        reflected = np.concatenate([ROWS[:, :60], ROWS[:, 58:18:-1]], axis=1)
        np.testing.assert_allclose(np.load(tmp_path / "out.npy"), model.reconstruct(reflected)[:, :60], atol=1e-6)

    def test_what_cannot_be_trusted_is_said(self, denoising_run: Path, tmp_path: Path, capsys: Any) -> None:
        write_wav(tmp_path / "noise.wav", 0.1 * NOISE)
        denoise(denoising_run, tmp_path / "noise.wav", tmp_path / "out.wav")
        assert "\nwarning: hardly any signal is seen above the noise; the result should not be trusted\n" in printed(capsys)
        write_wav(tmp_path / "sine.wav", 0.999 * SINE)
        denoise(denoising_run, tmp_path / "sine.wav", tmp_path / "out.wav", level="keep", force=True)
        said = printed(capsys)
        assert "noise: standard deviation below" in said
        assert "\nwarning: the error to be expected is larger than the noise in the input" in said

    def test_a_network_that_knows_its_signals_is_surprised_by_others(
        self, denoising_run: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With an error of 0.003 of its own, which takes longer to train than a test has."""
        monkeypatch.setattr("wavecoder.runs.denoiser._val_mse", lambda _: 0.003)
        write_wav(tmp_path / "fast.wav", 0.5 * np.sin(np.arange(5000) * 0.9))
        denoise(denoising_run, tmp_path / "fast.wav", tmp_path / "out.wav")
        assert re.search(r"\nwarning: the input is unlike the training signals, reconstructed with \S+ times", printed(capsys))

    def test_clipped_samples_are_counted(
        self, denoising_run: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Denoiser, "clean", lambda self, windows: 3 * windows)
        write_wav(tmp_path / "in.wav", 0.5 * SINE)
        denoise(denoising_run, tmp_path / "in.wav", tmp_path / "out.wav")
        assert re.search(
            r"\nwarning: [\d,]+ samples are beyond ±1, which out.wav cannot hold; they are clipped\n", printed(capsys)
        )


def test_sampling_steps_are_compared(denoising_run: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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
        denoise(denoising_run, tmp_path / "in.wav", tmp_path / "out.wav", force=True)
        lines = printed(capsys)
        assert (said in lines) if said else ("data.dt" not in lines and "unit of time" not in lines)


def test_bad_input_is_one_line_and_nothing_is_left(denoising_run: Path, tmp_path: Path) -> None:
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
        denoise(denoising_run, good, Path())
    for source, target, choices, said in cases:
        with pytest.raises((FileError, SettingError, OSError)) as caught:
            denoise(denoising_run, tmp_path / source, tmp_path / target, **choices)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before, said
