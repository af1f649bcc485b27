"""Autoencoders trained on sinusoids, always compared with the SVD and with the best that is possible.

What a notebook needs is here by name, and imported when it is first used:

>>> import wavecoder
>>> source = wavecoder.SinusoidSource()
>>> x = source.training_set("cpu").evaluate(source.times("cpu"))        # [signal, time]
>>> svd = wavecoder.SVD(rank=5).fit(wavecoder.moments_of([x]))
>>> round((svd.reconstruct(x) - x).square().mean().item(), 2)
0.31
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "DeepAutoencoder": "networks",
    "TiedLinearAutoencoder": "networks",
    "Ensemble": "ensemble",
    "Sinusoids": "signals",
    "SinusoidSource": "signals",
    "FileSource": "file_source",
    "add_noise": "signals",
    "time_grid": "signals",
    "FAMILIES": "families",
    "REFERENCES": "references",
    "SVD": "references",
    "PCA": "references",
    "Wiener": "references",
    "Bayes": "references",
    "moments_of": "references",
    "population_moments": "references",
    "principal_angles": "subspace",
    "generator": "rng",
    "results": "runs.frame",
    "train": "runs.api",
    "load": "runs.load",
}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("wavecoder")
    if name in _MODULES:
        return getattr(import_module(f"wavecoder.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'wavecoder' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
