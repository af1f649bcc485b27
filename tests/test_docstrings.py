"""The examples in docstrings are what a notebook would do, so they run."""

import doctest
from importlib import import_module

import pytest

MODULES = ["", "rng", "signals", "networks", "ensemble", "references", "windows", "engine", "files", "file_source", "scaling"]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_give_what_they_say(name: str) -> None:
    module = import_module(f"wavecoder.{name}".rstrip("."))
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


def test_everything_offered_is_there_and_documented() -> None:
    wavecoder = import_module("wavecoder")
    for name in wavecoder.__all__:
        assert getattr(wavecoder, name).__doc__
    assert set(wavecoder.__all__) <= set(dir(wavecoder))
    with pytest.raises(AttributeError, match="no attribute 'Autoencoder'"):
        _ = wavecoder.Autoencoder
