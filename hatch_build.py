"""Compiles src/wavecoder/engine/compiled.c while the package is installed, and adds conf/ to the wheel.

Without a C compiler the package works as well, but training on CPUs is slower.
"""

import hashlib
import os
import platform
import re
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("src", "wavecoder", "engine", "compiled.c")
INSTRUCTION_SETS = {  # by PyTorch's names, with the compiler's options
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq", "-mavx512vl", "-mfma"],
    "avx2": ["-mavx2", "-mfma"],
}
FLAGS = [
    "-std=gnu11",
    "-O3",
    "-fno-math-errno",  # without errno and traps loops over elements become vector code; NaN still propagates
    "-fno-trapping-math",
    "-mprefer-vector-width=512",
    "-fopenmp-simd",  # sums over vectors in any order
    "-pthread",
    "-shared",
    "-fPIC",
    "-lm",
]


class BuildHook(BuildHookInterface[Any]):
    """Adds one library for each instruction set, beside the source, and the configuration."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":  # an editable installation reads conf/ where it is
            build_data["force_include"]["conf"] = "wavecoder/conf"
        if platform.machine() not in ("x86_64", "AMD64"):
            return  # not measured on other processors
        compiler = shlex.split(os.environ.get("CC", "cc"))
        source = Path(self.root, SOURCE)
        # the engine loads a library only if it was built from the source that lies beside it
        digest = f'-DSOURCE_SHA256="{hashlib.sha256(source.read_bytes()).hexdigest()}"'
        for name, flags in INSTRUCTION_SETS.items():
            library = source.with_suffix(f".{name}.so")
            new = library.with_suffix(".new")
            try:
                command = [*compiler, str(source), "-o", str(new), digest, *flags, *FLAGS]
                subprocess.run(command, check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                reason = str(getattr(error, "stderr", "") or error).strip().splitlines()[0]
                self.app.display_warning(f"{SOURCE} could not be compiled for {name}, so training may be slower: {reason}")
                library.unlink(missing_ok=True)
                continue
            new.replace(library)  # at once: a run may have the old one open
            # it is loaded with ctypes and has nothing of Python in it: one wheel for all versions
            build_data.update(pure_python=False, tag=f"py3-none-{re.sub('[-.]', '_', sysconfig.get_platform())}")
