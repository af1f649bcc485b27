"""The command `wavecoder denoise`: mistakes, signals of the operating system, memory."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from noisy_signals import GENERATOR, RATE, ROWS, SINE, write_wav
from processes import kill, run_command

pytestmark = pytest.mark.xdist_group("denoise")  # one network for all


def test_the_command_answers_mistakes_in_one_line(denoising_run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", ROWS[:, :50])
    command = str(Path(sys.executable).with_name("wavecoder"))
    for arguments, said in {
        ("short.npy", "out.npy"): "error: short.npy: rows have 50 samples",
        ("short.npy", "out.npy", "--noise", "-1"): "error: argument --noise: -1: must be a number, 0 or more",
        ("short.npy", "out.npy", "--level", "loud"): "error: argument --level: invalid choice",
        ("short.npy",): "error: the following arguments are required: output",
    }.items():
        done = run_command(tmp_path, command, "denoise", str(denoising_run), *arguments)
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
def test_half_a_file_is_never_left(denoising_run: Path, tmp_path: Path, sent: signal.Signals, status: int) -> None:
    write_wav(tmp_path / "in.wav", np.tile(0.4 * SINE, 100))
    command = [sys.executable, "-c", SLOWLY, str(denoising_run), "in.wav", "out.wav"]
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
def test_ten_minutes_need_little_memory(denoising_run: Path, tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "in.wav", "w", RATE, 1, "PCM_16") as file:
        for second in range(600):
            file.write(0.4 * np.sin(0.1 * (np.arange(RATE) + second * RATE)) + 0.1 * GENERATOR.normal(size=RATE))

    def peak(*arguments: str) -> int:
        done = run_command(tmp_path, sys.executable, "-c", MEASURED, *arguments)
        assert done.returncode == 0, done.stderr
        return int(done.stderr.splitlines()[-1])

    assert peak(str(denoising_run), "in.wav", "out.wav") - peak() < 200
    assert soundfile.info(tmp_path / "out.wav").frames == 600 * RATE
