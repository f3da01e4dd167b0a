"""Compile the loops of ``titans_ts/series/base/compiled`` into a wheel; without a C compiler it is a pure one."""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "titans_ts/series/base/compiled"


class CompiledLoops(BuildHookInterface):
    """Put the library beside its source, and name the platform that it is for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, or say why everything will be read by the slower road."""
        spec = importlib.util.spec_from_file_location("build", Path(self.root, FOLDER, "build.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        try:
            library = module.build()
        except (OSError, RuntimeError) as error:
            self.app.display_warning(f"titans-ts reads series some times slower: {error}")
            return
        if version == "editable":  # it lies where it is read
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["force_include"][str(library)] = f"{FOLDER}/{library.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
