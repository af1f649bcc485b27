"""What a process that trains jobs sets for itself."""

import gc
import warnings
import weakref
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from wavecoder.runs.process import process_of_jobs


class Node:
    """Can refer to itself, so that only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def in_a_sweep(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    of_sweep = SimpleNamespace(mode=RunMode.MULTIRUN)
    monkeypatch.setattr(HydraConfig, "get", lambda: of_sweep)
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.usefixtures("in_a_sweep")
def test_what_a_job_has_made_is_freed_before_the_next() -> None:
    with process_of_jobs():
        made = weakref.ref(Node())
        assert made() is not None
    assert made() is None


@pytest.mark.usefixtures("in_a_sweep")
def test_a_warning_is_a_line_in_a_job_and_as_before_afterwards() -> None:
    before = warnings.formatwarning
    with process_of_jobs():
        assert warnings.formatwarning("of two\nlines", UserWarning, "file.py", 3) == "warning: of two lines\n"
    assert warnings.formatwarning is before
