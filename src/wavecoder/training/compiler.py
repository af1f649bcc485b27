"""PyTorch's compiler, which makes an empty folder for its files when it is imported, as by Lightning and PyTorch's optimisers.

This module imports the compiler and removes the folder again, so that no end of a run leaves it; what compiles makes it anew.
"""

import os
from contextlib import suppress
from pathlib import Path

import torch._dynamo  # noqa: F401

if "TORCHINDUCTOR_CACHE_DIR" in os.environ:  # PyTorch notes there where it is
    with suppress(OSError):  # it has files
        Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).rmdir()
