"""Ways to damage a file: what disks, copies and editors do to its bytes, and what a wrong hand does to what they mean."""

import copy
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from titans_ts.files.tensors import read_tensors, write_tensors

Chance = random.Random


# --- bytes ------------------------------------------------------------------------------------------------------------


def _place(content: bytes, chance: Chance) -> int:
    """Return a place, in the header as often as in the rest."""
    size = 8 + int.from_bytes(content[:8], "little")
    end = min(size, len(content)) if chance.random() < 0.5 else len(content)
    return chance.randrange(max(end, 1))


def flip_bits(content: bytes, other: bytes, chance: Chance) -> bytes:
    found = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 8, 64])):
        found[_place(content, chance)] ^= 1 << chance.randrange(8)
    return bytes(found)


def change_bytes(content: bytes, other: bytes, chance: Chance) -> bytes:
    found = bytearray(content)
    for _ in range(chance.choice([1, 1, 4])):
        found[_place(content, chance)] = chance.choice([0, 32, 34, 44, 48, 57, 91, 93, 123, 125, 255, chance.randrange(256)])
    return bytes(found)


def cut_short(content: bytes, other: bytes, chance: Chance) -> bytes:
    return content[: chance.choice([0, 1, 7, 8, 9, len(content) // 2, len(content) - 1, _place(content, chance)])]


def lengthen(content: bytes, other: bytes, chance: Chance) -> bytes:
    more = chance.choice([1, 8, 4096, 100_000])
    return content + (bytes(more) if chance.random() < 0.5 else chance.randbytes(more))


def wipe_block(content: bytes, other: bytes, chance: Chance) -> bytes:
    size = chance.choice([8, 64, 512, 4096])
    first = _place(content, chance) // size * size
    block = bytes(size) if chance.random() < 0.5 else chance.randbytes(size)
    return (content[:first] + block + content[first + size :])[: max(len(content), 1)]


def swap_blocks(content: bytes, other: bytes, chance: Chance) -> bytes:
    size = chance.choice([8, 64, 512])
    one, two = sorted((_place(content, chance) // size * size, chance.randrange(len(content)) // size * size))
    found = bytearray(content)
    a, b = content[one : one + size], content[two : two + size]
    found[one : one + len(b)], found[two : two + len(a)] = b, a
    return bytes(found)


def lose_block(content: bytes, other: bytes, chance: Chance) -> bytes:
    first = _place(content, chance)
    return content[:first] + content[first + chance.choice([1, 8, 512, 4096]) :]


def double_block(content: bytes, other: bytes, chance: Chance) -> bytes:
    first, size = _place(content, chance), chance.choice([1, 8, 512, 4096])
    return content[: first + size] + content[first:]


def splice(content: bytes, other: bytes, chance: Chance) -> bytes:
    first = _place(content, chance)
    return content[:first] + other[(first if chance.random() < 0.5 else chance.randrange(len(other))) :]


def change_length(content: bytes, other: bytes, chance: Chance) -> bytes:
    """Change what safetensors says of the length of its header."""
    size = int.from_bytes(content[:8], "little")
    told = chance.choice([0, 1, size - 8, size + 8, size // 2, 2 * size, 2**31, 2**40, 2**63, 2**64 - 1, len(content)])
    return told.to_bytes(8, "little") + content[8:]


BYTES: list[Callable[[bytes, bytes, Chance], bytes]] = [
    flip_bits, change_bytes, cut_short, lengthen, wipe_block, swap_blocks, lose_block, double_block, splice, change_length,
]  # fmt: skip
"""Each takes a file's content and that of another one, and returns the damaged content."""


# --- meaning ----------------------------------------------------------------------------------------------------------

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, 255, 10**6, 10**9, 2**31, 2**40, 2**63, 10**30, -(10**9),
    0.5, -0.5, 1.0, 1e-300, 1e300, float("nan"), float("inf"), "", "x", "mac", "titans", "float64", "\ud800", "1", "\0",
    [], [0], [[]], ["a"], [None], [1, 2, 3], [float("nan")], {}, {"a": 1}, {"plain": None}, ["plain", "x"],
    ["time", "9" * 40],
]  # fmt: skip


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value of a header, tables and lists among them."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    for key, each in items:
        yield from _leaves(each, (*path, key))


def _owner(header: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        header = header[key]
    return header


def edit_header(header: dict[str, Any], tensors: dict[str, Tensor], chance: Chance) -> str:
    """Change one value of a header, in place; returns what was done."""
    paths = [path for path in _leaves(header) if path[0] != "history" or chance.random() < 0.05]
    if chance.random() < 0.5:  # where most of the damage can be done
        paths = [
            path for path in paths if path[0] in ("network", "series", "layout", "records", "targets", "memory_state")
        ] or paths
    if not paths:
        return "nothing is left to change"
    path = chance.choice(paths)
    owner, key = _owner(header, path), path[-1]
    how = chance.choice(["value", "value", "value", "near", "near", "lose", "double", "rename", "swap"])
    if how == "value":
        owner[key] = copy.deepcopy(chance.choice(VALUES))
    elif how == "near" and isinstance(owner[key], int | float) and not isinstance(owner[key], bool):
        owner[key] = chance.choice([owner[key] + 1, owner[key] - 1, owner[key] * 2, -owner[key], owner[key] * 1000])
    elif how == "lose":
        del owner[key]
    elif how == "double" and isinstance(owner[key], list):
        owner[key] = owner[key] * 2
    elif how == "rename" and isinstance(owner, dict):
        owner[chance.choice(["x", key.upper(), f"{key}_"])] = owner.pop(key)
    else:
        other = chance.choice(paths)
        owner[key] = copy.deepcopy(_owner(header, other)[other[-1]])
        how = f"from {other}"
    return f"header {path}: {how}"


def _poke(x: Tensor, value: float, chance: Chance) -> Tensor:
    found = x.clone().contiguous()
    if found.numel():
        place = chance.randrange(found.numel())
        found.view(-1)[place] = (
            torch.tensor(value, dtype=torch.float64).nan_to_num(0).to(found.dtype)
            if not found.is_floating_point()
            else value
        )
    return found


def edit_tensors(header: dict[str, Any], tensors: dict[str, Tensor], chance: Chance) -> str:
    """Change a tensor of a file, in place; returns what was done."""
    name = chance.choice(sorted(tensors))
    other = chance.choice(sorted(tensors))
    x = tensors[name]
    how = chance.choice(
        ["nan", "inf", "huge", "negative", "cut", "longer", "flat", "turned", "axis", "empty", "half", "double", "whole",
         "truth", "lose", "rename", "twice", "swap", "another's"]
    )  # fmt: skip
    if how in ("nan", "inf", "huge", "negative"):
        tensors[name] = _poke(x, {"nan": float("nan"), "inf": float("inf"), "huge": 1e30, "negative": -1e6}[how], chance)
    elif how == "cut":
        tensors[name] = x[..., : x.shape[-1] // 2] if x.ndim else x[None]
    elif how == "longer":
        tensors[name] = torch.cat([x, x]) if x.ndim else torch.stack([x, x])
    elif how in ("flat", "turned", "axis", "empty"):
        tensors[name] = {
            "flat": x.reshape(-1),
            "turned": x.mT if x.ndim > 1 else x[None],
            "axis": x[None],
            "empty": x.new_zeros(0),
        }[how]
    elif how in ("half", "double", "whole", "truth"):
        kinds = {"half": torch.bfloat16, "double": torch.float64, "whole": torch.int64, "truth": torch.bool}
        tensors[name] = x.to(kinds[how])
    elif how == "lose":
        del tensors[name]
    elif how == "rename":
        tensors[chance.choice(["x", f"{name}x", name.replace("0", "1"), name.replace("network", "state")])] = tensors.pop(
            name
        )
    elif how == "twice":
        tensors[f"{name}.0"] = x
    elif how == "swap":
        tensors[name], tensors[other] = tensors[other], x
    else:
        tensors[name] = tensors[other]
    return f"tensor {name}: {how} {other}"


def rewritten(source: Path, target: Path, chance: Chance) -> str:
    """Write a file anew with another meaning, and with the digest of that; returns what was done."""
    tensors, header = read_tensors(source)
    done = []
    for _ in range(chance.choice([1, 1, 1, 2])):
        edit = edit_header if not tensors or chance.random() < 0.6 else edit_tensors
        done.append(edit(header, tensors, chance))
    write_tensors(target, tensors, header)
    return "; ".join(done)
