"""Random numbers: a generator for each purpose, so that any draw can be repeated from its key alone."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator


def seed_of(*key: int | str | float) -> int:
    """The seed that belongs to a key, 63 bits of its hash."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(device: torch.device | str, *key: int | str | float) -> Generator:
    """A random generator of its own for one purpose.

    Streams with different keys depend neither on one another nor on the global generator, so a draw is the same whatever was
    drawn before it. PyTorch's CPU generator keeps 32 bits of a seed: among hundreds of thousands of keys two may give the same
    stream by chance.

    Args:
        device: Where the numbers are drawn.
        key: What the numbers are for, for example `(seed, "batch order", epoch)`.

    Example:
        >>> first, again = (torch.randn(3, generator=generator("cpu", 0, "noise")) for _ in range(2))
        >>> torch.equal(first, again)
        True
    """
    return Generator(device=device).manual_seed(seed_of(*key))


@contextmanager
def seeded_draws(device: torch.device, *key: int | str | float) -> Iterator[None]:
    """Let what draws from PyTorch's global generator, as networks do, draw what belongs to a key; afterwards it is as before.

    Args:
        device: Where the numbers are drawn.
        key: What the numbers are for.
    """
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng([device] if on_gpu else []):
        found = torch.cuda.default_generators[device.index or 0] if on_gpu else torch.default_generator
        found.manual_seed(seed_of(*key))
        yield
