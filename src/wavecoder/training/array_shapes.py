"""The arrays of `reconstructions.npz`, by name, with their shapes: by these a damaged file is noticed when it is read."""

import re
from collections.abc import Mapping, Sequence

from numpy import ndarray

_SHAPES = (  # the first that fits a name; sizes of the same name are the same in all arrays of a file
    ("times|sine", "time"),
    ("shown", ""),
    ("families", "family"),
    ("latent_r", "r"),
    ("latent", "member family r|member point size"),
    ("decoded_z", "member z"),
    ("decoded", "member z time"),
    ("labels", "point"),
    ("signals", "signal time"),
    ("scale", "signal"),
    ("autoencoder_signals", "member signal time"),
    (r"\w+_signals", "signal time"),
    ("autoencoder_.+", "member copy time"),
    (r"draws_.+|own_\w+_draws_.+", "member draw"),
    (r"\w+_draws_.+", "draw|member draw"),
    ("own_.+", "member copy time"),
    (r"\w+_[\d.e+-]+", "copy time|member copy time"),
)
_NEEDED = {  # what belongs together
    "times": ("shown",),
    "sine|signals|latent_r|decoded": ("times",),
    r"(noisy|autoencoder)_[\d.e+-]+": ("sine",),
    "signals": ("autoencoder_signals", "scale"),
    "latent_r": ("latent", "decoded_z", "decoded", "families"),
}
_TEXTS = ("families", "labels")


def are_sound(arrays: Mapping[str, ndarray], members: int | None = None) -> bool:
    """Whether arrays are those of a run, complete and of shapes that fit one another.

    Args:
        arrays: What was read, by name.
        members: How many members the run has; None if that is not known.
    """
    sizes: dict[str, int] = {} if members is None else {"member": members}
    for name, values in arrays.items():
        shapes = next((shapes for pattern, shapes in _SHAPES if re.fullmatch(pattern, name)), None)
        if values.dtype.kind not in ("fiubU" if name in _TEXTS else "fiu"):
            return False
        if shapes is not None and not any(_binds(shape.split(), values.shape, sizes) for shape in shapes.split("|")):
            return False
    for pattern, needed in _NEEDED.items():
        if any(re.fullmatch(pattern, name) for name in arrays) and not all(name in arrays for name in needed):
            return False
    return "times" in arrays and 0 <= int(arrays["shown"]) < sizes.get("member", 1)


def _binds(names: Sequence[str], shape: Sequence[int], sizes: dict[str, int]) -> bool:
    """Note the sizes of a shape by name, unless one of them is known to be another."""
    if len(names) != len(shape) or any(sizes.get(name, size) != size for name, size in zip(names, shape, strict=True)):
        return False
    sizes |= zip(names, shape, strict=True)
    return True
