"""One fit on several processes of a torch.distributed group, to the numbers that one process gives.

Work is cut into :data:`PIECES` pieces whatever the number of processes is. A piece has the same shapes wherever it is worked
on, and sums over pieces are those of a balanced tree, of which every process adds a whole branch. So any number of processes
that divides the number of pieces gives the same bits on one kind of processor. All know all results, and go on alike; what
is decided is decided by the first. Outside a group everything is one piece, and nothing is sent.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain, pairwise
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")
Sums = TypeVar("Sums", bound=tuple[Tensor, ...])

PIECES = 8
"""Pieces that work is cut into; a group has as many processes, or a half, a quarter or an eighth of them."""

_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


class _Failed(NamedTuple):
    """What a process tells the others instead of a result."""

    error: Exception


def in_group() -> bool:
    """Tell whether work is shared with other processes, or at least cut as it would be."""
    return dist.is_available() and dist.is_initialized() and not _ALONE.get()


@contextmanager
def alone() -> Iterator[None]:
    """Share nothing inside the block: every process of a group does all of the work."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def is_first() -> bool:
    """Tell whether this process is the one that decides, writes and prints."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


@contextmanager
def joined() -> Iterator[None]:
    """Be in the group of the processes that torchrun, or whoever names them alike, started inside the block.

    Elsewhere, and in a group that there is already, do nothing.

    >>> with joined():
    ...     in_group()
    False
    """
    named = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    if not (named and dist.is_available()) or dist.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", os.environ["RANK"])) % torch.cuda.device_count())
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    dist.barrier()  # or one that finds an error at once would be gone before others have found it
    try:
        yield
    finally:
        dist.destroy_process_group()


def check_group() -> None:
    """Refuse a group that cannot send what is not on a card, or among whose processes the pieces are not divided evenly."""
    if in_group() and "cpu" not in _backends():
        raise ValueError(
            f"this torch.distributed group has the backend {dist.get_backend()!r} alone, which sends only what is on a "
            'card; start it with init_process_group("cpu:gloo,cuda:nccl")'
        )
    if in_group() and PIECES % dist.get_world_size():
        *numbers, last = (str(number) for number in range(1, PIECES + 1) if PIECES % number == 0)
        raise ValueError(
            f"this torch.distributed group has {dist.get_world_size()} processes, among which fit cannot share out evenly "
            f"the {PIECES} pieces that it cuts its work into; start {', '.join(numbers)} or {last}"
        )


def check_alike(identity: str) -> None:
    """Refuse processes that were given unlike things; ``identity`` is a digest of what must agree."""
    if not in_group():
        return
    others = [rank for rank, one in enumerate(_of_all(identity)) if one != identity]
    if others:
        raise ValueError(
            f"process {dist.get_rank()} of this torch.distributed group fits other data, or with other arguments, than "
            f"process {', '.join(map(str, others))}: give every process all of the data and the same arguments and "
            "random_state; fit shares out the work itself"
        )


def mine(count: int) -> list[tuple[int, slice]]:
    """Return the pieces of ``count`` places that this process works on, by number; empty ones are left out.

    >>> mine(5)
    [(0, slice(0, 5, None))]
    """
    if not in_group():
        return [(0, slice(0, count))]
    size, rank = dist.get_world_size(), dist.get_rank()
    edges = [count * number // PIECES for number in range(PIECES + 1)]
    pieces = [slice(*pair) for pair in pairwise(edges)]
    each = PIECES // size
    return [
        (number, pieces[number]) for number in range(rank * each, (rank + 1) * each) if edges[number] < edges[number + 1]
    ]


def shared(work: Callable[[slice], T], count: int) -> list[T]:
    """Return what work gives for every piece of ``count`` places, in order; each is done by one process, and all know it.

    >>> shared(lambda places: sum(range(5)[places]), 5)
    [10]
    """
    if not in_group():
        return [work(slice(0, count))]
    own = mine(count)
    found = _of_all(_tried(lambda: [work(places) for _, places in own]))
    return list(chain.from_iterable(map(_raised, found)))


def decided(work: Callable[[], T]) -> T:
    """Return what work gives in the first process; the others do not work."""
    if not in_group():
        return work()
    own = _tried(work) if is_first() else None
    found: list[Any] = [_packed(own) if is_first() else None]
    with _answered():
        dist.broadcast_object_list(found, src=0)
    return _raised(own if is_first() else pickle.loads(found[0]))


def agree(network: nn.Module) -> None:
    """Give a network the weights that it has in the first process."""
    if in_group():
        network.load_state_dict(decided(lambda: {name: x.cpu() for name, x in network.state_dict().items()}))


def summed(work: Callable[[slice], Sums], count: int) -> Sums:
    """Return the sum over all pieces of what work gives, tensors of one kind of number; no piece may be empty."""
    if not in_group():
        return work(slice(0, count))
    parts = [(number, work(places)) for number, places in mine(count)]
    vectors = [(number, torch.cat([x.flatten() for x in part])) for number, part in parts]
    like = parts[0][1]
    total = added(vectors, vectors[0][1]).split([x.numel() for x in like])
    sums = [x.view_as(one) for x, one in zip(total, like, strict=True)]
    return type(like)(*sums) if hasattr(like, "_fields") else type(like)(sums)


def gathered(parts: dict[int, T]) -> dict[int, T]:
    """Return what all processes keep of pieces, by the pieces' numbers."""
    if not in_group():
        return parts
    return dict(sorted(chain.from_iterable(one.items() for one in _of_all(parts))))


def added(parts: Sequence[tuple[int, Tensor]], like: Tensor) -> Tensor:
    """Return the sum of what all pieces gave, ``(n,)`` each, as a balanced tree; ``parts`` are this process's, by number.

    A piece that is left out counts as nothing, in the form of ``like``.
    """
    each, first = PIECES // dist.get_world_size(), dist.get_rank() * (PIECES // dist.get_world_size())
    given = dict(parts)
    branch = _tree([given[number] if number in given else torch.zeros_like(like) for number in range(first, first + each)])
    sent = branch if branch.device.type in _backends() else branch.cpu()
    everyone = [torch.empty_like(sent) for _ in range(dist.get_world_size())]
    with _answered():
        dist.all_gather(everyone, sent)
    return _tree(everyone).to(branch.device)


def _backends() -> dict[str, str]:
    """Return what sends tensors of each kind of device; gloo is left out for those of cards, of which it gathers none."""
    pairs = (one.split(":") for one in dist.get_backend_config().split(","))
    return {device: backend for device, backend in pairs if device == "cpu" or backend != "gloo"}


def _tree(parts: list[Tensor]) -> Tensor:
    """Return the sum of neighbours, of these sums again, and so on."""
    while len(parts) > 1:
        parts = [one + two for one, two in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _tried(work: Callable[[], T]) -> T | _Failed:
    """Return what work gives alone, or its error, which the others raise too."""
    try:
        with alone():
            return work()
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return _Failed(RuntimeError(f"{type(error).__name__}: {error}"))
        return _Failed(error)


def _raised(found: Any) -> Any:
    if isinstance(found, _Failed):
        raise found.error
    return found


def _of_all(value: Any) -> list[Any]:
    """Return what every process holds here, in order."""
    found: list[Any] = [None] * dist.get_world_size()
    with _answered():
        dist.all_gather_object(found, _packed(value))
    return [value if rank == dist.get_rank() else pickle.loads(one) for rank, one in enumerate(found)]


class _Pickler(pickle.Pickler):
    """Pickle tensors as arrays: torch's way takes a third of a millisecond for each, and a state holds many small ones."""

    def reducer_override(self, x: Any) -> Any:
        """Return how a plain tensor is made again; leave all else to pickle."""
        plain = type(x) is Tensor and x.device.type == "cpu" and not x.requires_grad and x.dtype != torch.bfloat16
        return (torch.from_numpy, (x.numpy(),)) if plain else NotImplemented


def _packed(value: Any) -> bytes:
    """Return anything as bytes."""
    found = io.BytesIO()
    _Pickler(found, protocol=5).dump(value)
    return found.getvalue()


@contextmanager
def _answered() -> Iterator[None]:
    """Say what is wrong where another process does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(
            f"process {dist.get_rank()} of {dist.get_world_size()} stops, since another process of this torch.distributed "
            f"group ended or did not answer ({str(error).strip().splitlines()[0]}). Start all of them again; with "
            "callbacks=[titans_ts.Checkpoint(path)] fit then goes on from the last step that was written"
        ) from error
