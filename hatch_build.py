"""Compiles src/wavecoder/backpropagation.c while the package is installed.

Without a C compiler the package works as well, but training on CPUs is slower.
"""

import os
import platform
import shlex
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("src", "wavecoder", "backpropagation.c")
LEVELS = {"avx512": "x86-64-v4", "avx2": "x86-64-v3"}  # what PyTorch calls them, and compilers
FLAGS = [
    "-std=gnu11",
    "-O3",
    "-fno-math-errno",  # no errno and no traps, so that loops over elements become vectors; what is not a number stays so
    "-fno-trapping-math",
    "-mprefer-vector-width=512",
    "-fopenmp",  # the threads are PyTorch's, which brings the library
    "-shared",
    "-fPIC",
    "-lm",
]


class CompileBackpropagation(BuildHookInterface[Any]):
    """One library for each instruction set, beside the source."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if platform.machine() not in ("x86_64", "AMD64"):
            return  # elsewhere nothing was measured
        compiler = shlex.split(os.environ.get("CC", "cc"))
        source = Path(self.root, SOURCE)
        for name, level in LEVELS.items():
            library = source.with_suffix(f".{name}.so")
            new = library.with_suffix(".new")
            try:
                command = [*compiler, str(source), "-o", str(new), f"-march={level}", *FLAGS]
                subprocess.run(command, check=True, capture_output=True, text=True)
                new.replace(library)  # in one go: a run may have the old one open
            except (OSError, subprocess.CalledProcessError) as error:
                why = str(getattr(error, "stderr", "") or error).strip().splitlines()[0]
                self.app.display_warning(f"{SOURCE} could not be compiled, so training on CPUs will be slower: {why}")
                library.unlink(missing_ok=True)
                return
        build_data.update(pure_python=False, infer_tag=True)
