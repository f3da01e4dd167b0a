"""Tensors and plain facts in one file: safetensors with a JSON header, written whole or not at all, never unpickled.

The file is read here and not by the library of that name, which maps it into memory: what was loaded would change with the
file, and a file cut short would kill the process. It is written here too: the library puts the facts of a header in an order
of chance, and the same model would not give the same bytes. Any other reader of safetensors can read it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import torch
from torch import Tensor

from titans_ts.files.replacing import clear_partial, replacing

FORMAT = "titans_ts"
VERSION = 1
"""Version of the file format; a file of a newer one is refused."""

KINDS = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
    "C128": torch.complex128,
}
"""Kinds of number by their names in a file."""

_NAMES = {kind: name for name, kind in KINDS.items()}
_AT_ONCE = 2**20  # bytes of a header read in one go
_AXES, _MOST = 64, 2**58  # that torch can count: axes, and numbers of a tensor


class Form(NamedTuple):
    """What a file says of a tensor before its numbers are read."""

    kind: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return math.prod(self.shape) * self.kind.itemsize


Part = TypeVar("Part")
Check = Callable[[dict[str, Any], Mapping[str, Form]], None]
"""Looks at a file's header and the forms of its tensors, and raises ValueError where they are not what is wanted."""


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors, which may share memory, and a header of plain values to a file, whole or not at all."""
    whole = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
    text = json.dumps(header)
    about = {"format": FORMAT, "version": str(VERSION), "header": text, "digest": digest(whole, text)}
    order = sorted(whole, key=lambda name: (-whole[name].element_size(), name))
    said: dict[str, Any] = {"__metadata__": about}
    end = 0
    for name in order:
        begin, end = end, end + whole[name].numel() * whole[name].element_size()
        said[name] = {"dtype": _NAMES[whole[name].dtype], "shape": list(whole[name].shape), "data_offsets": [begin, end]}
    first = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
    first += b" " * (-len(first) % 8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(len(first).to_bytes(8, "little") + first)
        for name in order:
            file.write(_bytes_of(whole[name]))


def read_tensors(path: str | Path, *, check: Check | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the header of a file; refuse one that is damaged, foreign, or of a newer titans_ts.

    The file is opened once, and nothing returned depends on it any more. ``check`` may refuse by the header and the forms of
    the tensors, before these are read.
    """
    with _opened(path) as file:
        try:
            about, forms = _beginning(file)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, error) from None
        header = _own_header(path, about)
        if check is not None:
            check(header, forms)
        try:
            tensors = {name: _read_one(file, form) for name, form in forms.items()}
        except ValueError as error:
            raise _damaged(path, error) from None
        except MemoryError as error:
            raise MemoryError(f"{str(path)!r} holds more than there is room for: {error}") from None
    if about["digest"] != digest(tensors, about["header"]):
        raise ValueError(f"{str(path)!r} is damaged: its content is not what was written (digest); save the model again")
    return tensors, header


def parsed_json(text: str) -> Any:
    """Return what JSON says; a key given twice is refused, and ValueError is all that bad text raises."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def under(prefix: str, tensors: Mapping[str, Part]) -> dict[str, Part]:
    """Return the tensors of a file, or their forms, whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}


def digest(tensors: Mapping[str, Tensor], header: str) -> str:
    """Return the SHA-256 of everything in a file: a flipped bit in a weight would be read without a word."""
    found = hashlib.sha256(header.encode())
    for name, x in sorted(tensors.items()):
        found.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
        found.update(_bytes_of(x.detach().cpu().contiguous()))
    return found.hexdigest()


def _bytes_of(x: Tensor) -> memoryview:
    """Return the memory of a contiguous tensor, to read or to fill."""
    flat = x.as_strided((x.numel(),), (1,))  # reshape keeps a stride of 0 where there is one number
    return flat.view(torch.uint8).numpy().data  # numpy knows no bfloat16


def _opened(path: str | Path) -> BinaryIO:
    """Open a plain file that may be read; what is none, or may not, is told by its true name."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be text or a Path, got {type(path).__name__}")
    said = repr(str(path))
    try:
        clear_partial(path)
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no file {said}") from None
    except PermissionError as error:
        what = IsADirectoryError if os.path.isdir(path) else PermissionError  # Windows opens no folder
        raise what(error.errno, f"{said} may not be read; it is another user's, or closed to all") from None
    except OSError as error:
        raise type(error)(error.errno, f"{said} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"path={said} is no name of a file: {error}") from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{said} is a folder; name a file in it")
    raise ValueError(f"{said} is a pipe or a device, no plain file; name a file that save() wrote")


def _damaged(path: str | Path, error: Exception) -> ValueError:
    return ValueError(f"{str(path)!r} is damaged, cut short, or not a file of titans_ts ({error}); save the model again")


def _beginning(file: BinaryIO) -> tuple[dict[str, str], dict[str, Form]]:
    """Return the facts in the header of a safetensors file, and the forms of its tensors in their order in the file.

    Names, kinds, shapes and places must agree with each other and with the file's length.
    """
    length = os.fstat(file.fileno()).st_size
    if length == 0:
        raise ValueError("it is empty")
    start = file.read(9)
    size = int.from_bytes(start[:8], "little")
    if start[8:] != b"{" or size > length - 8:
        raise ValueError("it does not begin as safetensors does")
    said = parsed_json(_text_of_header(file, start[8:], size).decode())
    about = said.pop("__metadata__", {}) if isinstance(said, dict) else None
    if not isinstance(about, dict) or not all(isinstance(x, str) for x in about.values()):
        raise ValueError("its header is no table")
    placed = [(name, *_form(name, entry)) for name, entry in said.items()]
    placed.sort(key=lambda one: (one[1], one[2].nbytes))
    end = 0
    for name, begin, form in placed:
        if begin != end:
            raise ValueError(f"the bytes of {name!r} do not follow those before them")
        end += form.nbytes
    if end != length - 8 - size:
        raise ValueError(f"its tensors take {end:,} bytes, but {length - 8 - size:,} are there")
    return about, {name: form for name, _, form in placed}


def _text_of_header(file: BinaryIO, found: bytes, size: int) -> bytes:
    """Read the rest of a header; one with holes in it is refused where the first is met."""
    parts, left = [found], size - len(found)
    while left > 0:
        part = file.read(min(left, _AT_ONCE))
        if not part or b"\0" in part:
            raise ValueError("its header is cut short or has holes")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _form(name: str, entry: Any) -> tuple[int, Form]:
    """Return where a tensor begins, and its form, if its entry in the header agrees with itself."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"its header says nothing of use about {name!r}")
    kind, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{name!r} is of an unknown kind, {kind!r}")
    if not (_counts(shape) and _counts(place) and len(place) == 2):
        raise ValueError(f"{name!r} has a shape or a place that is none")
    form = Form(KINDS[kind], tuple(shape))
    if place[1] - place[0] != form.nbytes or math.prod(x for x in shape if x) > _MOST:
        raise ValueError(f"{name!r} has another size than its shape asks for")
    return place[0], form


def _counts(values: Any) -> bool:
    return isinstance(values, list) and len(values) <= _AXES and all(type(x) is int and 0 <= x <= _MOST for x in values)


def _own_header(path: str | Path, about: dict[str, str]) -> dict[str, Any]:
    """Return the header that titans_ts wrote; what another wrote, or a newer titans_ts, is refused."""
    if about.get("format") != FORMAT:
        raise ValueError(f"{str(path)!r} is a safetensors file, but titans_ts did not write it")
    try:
        version = int(about["version"])
        header = parsed_json(about["header"])
        if not isinstance(header, dict):
            raise ValueError(f"expected a table, got a {type(header).__name__}")
    except (KeyError, ValueError) as error:
        raise ValueError(f"{str(path)!r} has a damaged header ({error}); save the model again") from None
    if version > VERSION:
        raise ValueError(
            f"{str(path)!r} was written by a newer titans_ts (file format {version}; this one reads up to {VERSION}): "
            "upgrade titans_ts"
        )
    if version < 1 or set(about) != {"format", "version", "header", "digest"}:
        raise ValueError(f"{str(path)!r} has a damaged header (it holds {sorted(about)}); save the model again")
    return header


def _read_one(file: BinaryIO, form: Form) -> Tensor:
    """Read the next tensor of a file into memory of its own."""
    try:
        x = torch.empty(form.shape, dtype=form.kind)
    except RuntimeError as error:
        raise MemoryError(f"a tensor of {form.nbytes:,} bytes ({error})") from None
    if form.nbytes and file.readinto(_bytes_of(x)) != form.nbytes:  # type: ignore[attr-defined]
        raise ValueError("it was cut while it was read")
    return x


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"it says {name!r} twice")
        found[name] = value
    return found
