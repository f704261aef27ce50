"""Build hook: compiles the kernel (``sentineld/_kernel.c``) where there is a C compiler.

The kernel makes sentineld faster and changes nothing else, so a build without a compiler, or one that fails,
goes on without it and says so once. What is compiled uses Python's limited API: one wheel for all versions
from 3.11 on. ``SENTINELD_BUILD=pure`` leaves it out, ``SENTINELD_BUILD=compiled`` insists on it.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE, OBJECT = "sentineld/_kernel.c", "sentineld/_kernel.abi3.so"
#: No contraction of products and sums: results are the reference's, bit by bit.
FLAGS = (
    "-std=c11",
    "-O2",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-fPIC",
    "-shared",
    "-Wall",
    "-Wextra",
)


class KernelHook(BuildHookInterface[Any]):
    """Puts the compiled kernel into a wheel, or beside its source for an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the kernel; ``version`` is ``standard``, or ``editable`` for an installation that is."""
        wish = os.environ.get("SENTINELD_BUILD", "")
        is_editable = version == "editable"
        self._scratch = tempfile.TemporaryDirectory()
        target = Path(self.root if is_editable else self._scratch.name, OBJECT)
        why = "SENTINELD_BUILD=pure" if wish == "pure" else compile_kernel(Path(self.root, SOURCE), target)
        if why and wish == "compiled":
            raise RuntimeError(f"the kernel cannot be compiled: {why}")
        if why:
            # One that an earlier build left is not of this source.
            target.unlink(missing_ok=True)
            self.app.display_warning(
                f"sentineld is built without its compiled kernel, which is slower: {why}"
            )
        elif not is_editable:
            build_data["force_include"][str(target)] = OBJECT
            build_data["pure_python"] = False
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"cp311-abi3-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was compiled for a wheel, which has it now."""
        self._scratch.cleanup()


def compile_kernel(source: Path, target: Path) -> str:
    """Compile the kernel; return why that did not work, empty where it did."""
    if sys.implementation.name != "cpython" or os.name != "posix":
        return "it is for CPython on POSIX systems"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "this Python has no stable ABI"
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if not compiler or shutil.which(compiler[0]) is None:
        return "there is no C compiler"
    target.parent.mkdir(exist_ok=True)
    fresh = target.with_suffix(".new")
    command = [*compiler, *FLAGS, *shlex.split(os.environ.get("CFLAGS", ""))]
    command += [f"-I{sysconfig.get_path('include')}", str(source), "-o", str(fresh), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        fresh.unlink(missing_ok=True)
        lines = (done.stderr or done.stdout).strip().splitlines()
        return next(
            (line for line in lines if "error" in line), f"{command[0]} failed with {done.returncode}"
        )
    # Programs that have the former one loaded keep it.
    fresh.replace(target)
    return ""
