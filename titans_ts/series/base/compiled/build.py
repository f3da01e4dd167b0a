"""Compile ``base.c`` into a library beside it: ``python -m titans_ts.series.base.compiled.build``.

An installation does it where it finds a compiler; it needs no other package, and nothing of Python is in the library.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE / "base.c"
ENDING = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
LIBRARY = HERE / f"base{ENDING}"
FLAGS = (
    "-fno-math-errno",
    "-fno-trapping-math",
    "-O3",
    "-std=gnu99",
    "-fPIC",
    "-shared",
    "-fopenmp-simd",
    "-fvisibility=hidden",
)


def compiler() -> list[str] | None:
    """Return the command of a C compiler, as ``CC`` names it or Python was built with; None where there is none."""
    asked = os.environ.get("CC", sysconfig.get_config_var("CC") or "cc").split()
    for command in (asked, ["cc"], ["gcc"], ["clang"]):
        if command and shutil.which(command[0]):
            return command
    return None


def build(into: Path = LIBRARY) -> Path:
    """Compile the library, and return where it is.

    Raises
    ------
    FileNotFoundError
        If there is no C compiler.
    RuntimeError
        If it fails; the message is the compiler's.
    """
    command = compiler()
    if command is None:
        raise FileNotFoundError("no C compiler was found: install gcc or clang, or name one in the variable CC")
    made = into.with_name(f"{into.name}.{os.getpid()}.part")  # a library that is in use is replaced, not written to
    asked = [*command, *FLAGS, "-o", str(made), str(SOURCE), "-lm"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        made.unlink(missing_ok=True)
        raise RuntimeError(f"{' '.join(command)} could not compile {SOURCE.name}: {done.stderr.strip()}")
    made.replace(into)
    return into


if __name__ == "__main__":
    print(build())
