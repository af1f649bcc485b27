"""The estimate of a run's memory, against what was measured and against what there is."""

import re
import sys
from pathlib import Path

import pytest
from conftest import composed, settings_with
from processes import run_command

from wavecoder.runs import memory
from wavecoder.runs.build import choose_network
from wavecoder.runs.limits import SettingError
from wavecoder.runs.memory import Size, check_memory, estimate
from wavecoder.runs.settings import Settings, from_config
from wavecoder.runs.training_checks import _size_of

SMALL = Size(13_375, 400)
PROCESS = 514  # MB, of one that trains next to nothing
MEASURED = {  # MB, the largest resident memory of a run of one epoch on Linux
    "num_seeds=64": 596,
    "num_seeds=256 engine=pytorch data.train_size=12800": 1091,
    "num_seeds=64 data.per_seed=true data.train_size=5000": 1085,
    "model.widths=[6000,3000] data.train_size=128": 1831,
    "data.signal_length=2000 data.dt=0.005 data.train_size=6400": 918,
    "num_seeds=8 data.batch_size=8192 engine=pytorch": 825,
    "data.val_size=100000 data.train_size=6400": 664,
}
"""The table of docs/reliability.md, but for runs that take no more than the process itself."""


def needed(settings: Settings, size: Size = SMALL) -> float:
    return sum(need.size for need in estimate(settings, size))


@pytest.mark.parametrize("overrides", MEASURED)
def test_the_estimate_is_within_a_factor_of_two_of_what_was_measured(overrides: str) -> None:
    config = composed(*overrides.split())
    settings = from_config(config)
    beside_process = (MEASURED[overrides] - PROCESS) * 1e6
    assert 0.5 < needed(settings, _size_of(choose_network(config, settings), settings)) / beside_process < 2


@pytest.mark.slow
def test_the_estimate_is_within_a_factor_of_two_of_what_a_run_takes(tmp_path: Path) -> None:
    code = "from wavecoder.runs import cli; cli.train(); print(open('/proc/self/status').read())"
    arguments = ("engine=pytorch", "num_seeds=256", "data.train_size=12800", "trainer.max_epochs=1", "logger=none")
    done = run_command(tmp_path, sys.executable, "-c", code, *arguments)
    assert done.returncode == 0, done.stderr
    (largest,) = re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)
    # the process counts too: how much an empty one takes differs between machines by as much as a small run
    assert 0.5 < (PROCESS * 1e6 + needed(from_config(composed(*arguments)))) / (int(largest) * 1024) < 2


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["num_seeds=100000"], "num_seeds=100000"),
        (["data.val_size=10000000"], "data.val_size=10000000"),
        (["data.signal_length=50000", "data.dt=1e-4"], "data.signal_length=50000"),
        (["noise.copies=1000000"], "noise.copies=1000000"),
        (["num_seeds=200", "data.per_seed=true", "noise.draws=5000"], "num_seeds=200"),
    ],
)
def test_the_setting_that_weighs_most_is_named(monkeypatch: pytest.MonkeyPatch, overrides: list[str], named: str) -> None:
    monkeypatch.setattr(memory, "available", lambda: 2_000_000_000)
    check_memory(settings_with(), SMALL)
    with pytest.raises(SettingError, match=rf"^{named}: needs about \d\S* [GT]B of memory, and 2\.0 GB are available$"):
        check_memory(settings_with(*overrides), SMALL)


def test_a_large_network_is_named_by_its_parameters_and_processes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 3_000_000_000)
    with pytest.raises(SettingError, match=r"^model: 100,000,000 parameters for each seed: needs about 4\.1 GB of memory, and"):
        check_memory(settings_with(), Size(100_000_000, 400))
    with pytest.raises(SettingError, match=r"of memory for 8 processes, and 3\.0 GB are available$"):
        check_memory(settings_with("trainer.strategy=ddp", "trainer.devices=4"), SMALL, beside=2)


def test_64_bits_and_seeds_take_twice_as_much_and_references_can_be_left_out() -> None:
    plain, large = settings_with(), Size(10_000_000, 400)
    assert needed(settings_with("trainer.precision=64-true"), large) == pytest.approx(2 * needed(plain, large), rel=0.1)
    assert needed(settings_with("num_seeds=2"), large) == pytest.approx(2 * needed(plain, large), rel=0.1)
    assert sum(need.size for need in estimate(plain, SMALL, references=False)) < needed(plain)


def test_what_is_left_is_that_of_the_narrowest_cgroup_and_files_that_are_cached_count_as_free(tmp_path: Path) -> None:
    inner = tmp_path / "slurm" / "job"
    inner.mkdir(parents=True)
    for folder, most, used, cached in ((inner, "max", 5, 1), (inner.parent, "1000", 700, 200)):
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 3\ninactive_file {cached}\n")
    assert list(memory._left(tmp_path, "/slurm/job", "memory.max", "memory.current", "inactive_file")) == [500]
    assert 0 < memory.available() < 1e15


@pytest.mark.parametrize(
    ("size", "text"),
    [(999, "999 bytes"), (1500, "1.5 kB"), (2.5e10, "25 GB"), (3e17, "300 PB"), (4e20, "4e+20 bytes")],
)
def test_sizes_are_told_in_the_unit_that_fits(size: float, text: str) -> None:
    assert memory._text(size) == text
