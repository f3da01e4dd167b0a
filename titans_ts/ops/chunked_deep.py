"""A store of any depth, from refresh to refresh: a run of equal chunks, each of which writes at one anchor.

With gradients a run is one node of autograd's graph, and goes chunk by chunk: they go from chunk to chunk in place, and only
what products have made is kept for them. Without, only the writes wait for each other, and all chunks are read at once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.decay import Decays
from titans_ts.ops.dual import (
    OpenMemory,
    Start,
    Writes,
    anchor_of,
    anchored_writes,
    in_chunks,
    narrow_first,
    read_after_writes,
    state_after_writes,
)
from titans_ts.ops.dual_gradients import WalkPlan, walk_chunks
from titans_ts.ops.rule import StoreNorm


class ChunkWrites(NamedTuple):
    """What ``p`` chunks of ``n`` tokens wrote, and the state before each of them: all that reading asks for."""

    inputs: tuple[Tensor, ...]  # (b h, p n, .) a layer, as in Writes
    rows: tuple[Tensor, ...]
    before: tuple[Tensor, ...]  # the parts of the state before each chunk, (b h, p, m, narrow, wide) a layer
    decays: Decays  # (b h, p, ...)


def walk(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    step: Tensor,
    decays: Decays,
    memory: OpenMemory,
    norm: StoreNorm | None,
) -> tuple[Tensor, OpenMemory, Tensor]:
    """Write and read tokens ``(b h, p n, .)`` in ``p`` chunks of ``n``, none of which crosses a refresh.

    Returns the output ``(b h, p n, v)``, as read before the norm ``(b h, v)``, the memory after it, and the surprise
    ``(layers, b h, p n)``.
    """
    depth, start = len(memory.parts), memory.start
    plan = WalkPlan(memory.rule, _refreshes(decays, memory), memory.narrow_in, start is not None)
    states = (*memory.parts, *memory.anchor, *(start or ()), *(norm or ()))
    output, norms, *found = walk_chunks(plan, queries, keys, values, step, decays, *states)
    parts, anchor = tuple(found[:depth]), tuple(found[depth:]) or memory.anchor
    return output, memory._replace(parts=parts, anchor=anchor, position=memory.position + keys.shape[1]), norms


def walk_writes(
    keys: Tensor, values: Tensor, step: Tensor, decays: Decays, memory: OpenMemory, norm: StoreNorm | None
) -> tuple[ChunkWrites, OpenMemory, Tensor]:
    """Write as :func:`walk` does, without gradients, and leave the reading to :func:`walk_reads`."""
    parts, anchor, narrow_in = list(memory.parts), memory.anchor, memory.narrow_in
    made, before = [], []
    chunks = zip(_refreshes(decays, memory), *in_chunks(decays, keys, values, step), strict=True)
    for refresh, shares, k, v, size in chunks:
        if refresh:
            anchor = anchor_of(parts, memory.start)
        matrices = list(map(narrow_first, anchor, narrow_in))
        writes, _ = anchored_writes(matrices, k, v, size, memory.rule, norm)
        made.append(writes)
        before.append(parts)
        parts = state_after_writes(writes, shares, parts)
    inputs, rows, norms = (tuple(torch.cat(x, dim=1) for x in zip(*one, strict=True)) for one in zip(*made, strict=True))
    states = tuple(torch.stack(x, dim=1) for x in zip(*before, strict=True))
    after = memory._replace(parts=tuple(parts), anchor=anchor, position=memory.position + keys.shape[1])
    return ChunkWrites(inputs, rows, states, decays), after, torch.stack(norms)


def walk_reads(queries: Tensor, written: ChunkWrites, start: Start) -> Tensor:
    """Read with queries ``(b h, p n, k)`` what was written, each as of its own token: ``(b h, p n, v)``.

    The chunks are read as if each were a memory of its own.
    """
    size = written.decays.write.shape[2]

    def cut(x: Tensor) -> Tensor:
        return x.reshape(-1, size, x.shape[2])

    writes = Writes([cut(x) for x in written.inputs], [cut(x) for x in written.rows], [])
    decays = Decays(*(x.flatten(0, 1) for x in written.decays))
    out, _ = read_after_writes(cut(queries), writes, decays, [x.flatten(0, 1) for x in written.before], start)
    return out.view(*queries.shape[:2], -1)


def _refreshes(decays: Decays, memory: OpenMemory) -> list[bool]:
    """Return for each chunk whether the anchor is taken anew at its start."""
    chunks, size = decays.write.shape[1], decays.write.shape[2]
    return [(memory.position + i * size) % memory.rule.refresh_every == 0 for i in range(chunks)]
