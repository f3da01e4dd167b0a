"""Tensors and plain facts in one file: safetensors with a JSON header, written whole or not at all, never unpickled."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from titans_ts.files.tables import replacing

FORMAT = "titans_ts"
VERSION = 1
"""Version of the file format; a file of a newer one is refused."""

_SAME_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}


def write_tensors(path: str | Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors, which may share memory, and a header of plain values to a file, whole or not at all."""
    from safetensors.torch import save

    whole = {name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()}
    text = json.dumps(header)
    about = {"format": FORMAT, "version": str(VERSION), "header": text, "digest": digest(whole, text)}
    content = save(whole, about)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the header of a file; refuse one that is damaged, foreign, or of a newer titans_ts."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(
            f"{str(path)!r} is damaged, cut short, or not a file of titans_ts ({error}); save the model again"
        ) from None
    if about.get("format") != FORMAT:
        raise ValueError(f"{str(path)!r} is a safetensors file, but titans_ts did not write it")
    try:
        version, header = int(about["version"]), json.loads(about["header"])
        if not isinstance(header, dict):
            raise ValueError(f"expected a table, got {header!r}")
    except (KeyError, ValueError) as error:
        raise ValueError(f"{str(path)!r} has a damaged header ({error}); save the model again") from None
    if version > VERSION:
        raise ValueError(
            f"{str(path)!r} was written by a newer titans_ts (file format {version}; this one reads up to {VERSION}): "
            "upgrade titans_ts"
        )
    if about.get("digest") != digest(tensors, about["header"]):
        raise ValueError(f"{str(path)!r} is damaged: its content is not what was written (digest); save the model again")
    return tensors, header


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}


def digest(tensors: dict[str, Tensor], header: str) -> str:
    """Return the SHA-256 of everything in a file: a flipped bit in a weight would be read without a word."""
    found = hashlib.sha256(header.encode())
    for name, x in sorted(tensors.items()):
        found.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
        found.update(x.view(_SAME_SIZE[x.element_size()]).numpy().tobytes())  # numpy knows no bfloat16
    return found.hexdigest()
