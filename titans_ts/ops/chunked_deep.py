"""A store of any depth without gradients, from refresh to refresh: chunk after chunk is written, then all are read at once.

With gradients :func:`titans_ts.ops.dual_gradients.walk` does both, chunk by chunk, as one node of autograd's graph.
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
    refreshes,
    state_after_writes,
)
from titans_ts.ops.rule import StoreNorm


class ChunkWrites(NamedTuple):
    """What ``p`` chunks of ``n`` tokens wrote, and the state before each of them: all that reading asks for."""

    inputs: tuple[Tensor, ...]  # (b h, p n, .) a layer, as in Writes
    rows: tuple[Tensor, ...]
    before: tuple[Tensor, ...]  # the parts of the state before each chunk, (b h, p, m, narrow, wide) a layer
    decays: Decays  # (b h, p, ...)


def walk_writes(
    keys: Tensor, values: Tensor, step: Tensor, decays: Decays, memory: OpenMemory, norm: StoreNorm | None
) -> tuple[ChunkWrites, OpenMemory, Tensor]:
    """Write tokens ``(b h, p n, .)`` in ``p`` chunks, none of which crosses a refresh, and read nothing.

    Returns what was written, the memory after it and the norms of :class:`Writes`, ``(layers + 1, b h, p n)``.
    """
    parts, anchor, narrow_in = list(memory.parts), memory.anchor, memory.narrow_in
    made, before = [], []
    chunks = zip(refreshes(decays, memory), *in_chunks(decays, keys, values, step), strict=True)
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
    after = memory._replace(parts=tuple(parts), anchor=anchor, position=memory.position + decays.write[0, :, :, 0].numel())
    return ChunkWrites(inputs, rows, states, decays), after, torch.stack(norms)


def walk_reads(queries: Tensor, written: ChunkWrites, start: Start) -> Tensor:
    """Read with queries ``(b h, p n, k)`` what was written, each as of its own token: ``(b h, p n, v)``.

    The chunks are read as if each were a memory of its own.
    """
    chunks = written.decays.write.shape[1]

    def cut(x: Tensor) -> Tensor:
        return x.unflatten(1, (chunks, -1)).flatten(0, 1)

    writes = Writes([cut(x) for x in written.inputs], [cut(x) for x in written.rows], [])
    decays = Decays(*(x.flatten(0, 1) for x in written.decays))
    out, _ = read_after_writes(cut(queries), writes, decays, [x.flatten(0, 1) for x in written.before], start)
    return out.view(*queries.shape[:2], -1)
