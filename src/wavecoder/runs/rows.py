"""Functions of rows applied to arrays of any shape and kind, a block of rows at a time."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

Array = TypeVar("Array", ndarray, Tensor)
_BLOCK_VALUES = 4_000_000  # values of a block's results: 16 megabytes
_MOST_ROWS = 4_096  # of a block


def apply_to_rows(
    function: Callable[[Tensor, int], Tensor],
    values: Array,
    what: str,
    sizes: tuple[int, int],
    members: int | None = None,
    paired: bool = False,
    device: torch.device | None = None,
) -> Array:
    """Apply a function of rows to values of any shape, `[..., size]`, a block of rows at a time.

    Args:
        function: Takes some rows, `[row, size]`, or `[member, row, size]` if they are paired, and the number of their block;
            returns `[member, row, new size]`.
        values: An array or a tensor.
        what: What a row is, for messages: `signal` or `latent`.
        sizes: Sizes of a row before and after.
        members: Number of members, for a first axis of members in the result; None for no such axis.
        paired: Whether the values have a first axis of members.
        device: Where the function computes; None for the CPU.

    Returns:
        Results of the same kind, on the same device, of the same floating-point type, 32 bits for whole numbers.

    Raises:
        ValueError: The values are no real numbers, or not of this size.
    """
    _check(values, what, sizes[0], members if paired else None)
    shape = tuple(values.shape[1:-1] if paired else values.shape[:-1])
    rows: Any = values.reshape(*values.shape[: int(paired)], -1, sizes[0])
    count = rows.shape[-2]
    new: Any = _empty(values, (members or 1, count, sizes[1]))
    size = max(1, min(_MOST_ROWS, _BLOCK_VALUES // ((members or 1) * max(sizes))))
    with torch.no_grad():
        for number, start in enumerate(range(0, count, size)):
            block: Any = function(_as_tensor(rows[..., start : start + size, :], device), number)
            if isinstance(new, ndarray):
                block = (block if block.dtype == torch.float64 else block.float()).cpu().numpy()
            new[:, start : start + size] = block
    return new.reshape(*(() if members is None else (members,)), *shape, sizes[1])


def require_real(values: Any, what: str) -> None:
    """Refuse what is no array or tensor of real numbers.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(values, ndarray | Tensor):
        raise ValueError(f"{what}s given as {type(values).__name__}: must be a NumPy array or a tensor")
    real = values.dtype.kind in "fiub" if isinstance(values, ndarray) else not values.is_complex()
    if not real:
        raise ValueError(f"{what}s of type {values.dtype}: must be real numbers")


def _check(values: Any, what: str, size: int, members: int | None) -> None:
    require_real(values, what)
    wanted = [size] if members is None else [members, size]
    got = list(values.shape)
    if len(got) < len(wanted) or got[-1] != size or (members is not None and got[0] != members):
        shape = f"[..., {size}]" if members is None else f"[{members}, ..., {size}], a first axis of members"
        raise ValueError(f"{what}s of shape {got}: must be {shape}")


def _empty(like: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(like, ndarray):
        return np.empty(shape, like.dtype if like.dtype.kind == "f" else np.float32)
    return like.new_empty(shape, dtype=like.dtype if like.is_floating_point() else torch.float32)


def _as_tensor(rows: Any, device: torch.device | None) -> Tensor:
    if isinstance(rows, ndarray):
        rows = torch.from_numpy(np.array(rows, np.float64 if rows.dtype.itemsize > 4 else np.float32))  # never memory of others
    return rows.detach().to(device or "cpu", rows.dtype if rows.is_floating_point() else torch.float32)
