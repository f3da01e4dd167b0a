"""Groups of torch.distributed: processes that are forked from one that has imported the library, and are done soon."""

import multiprocessing
import tempfile
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["titans_ts.series.forecaster", "titans_ts.windows.classify"])
SECONDS = 300
"""After which a process that does not end is killed."""


def in_group(size: int, work: Any, *arguments: Any) -> list[Any]:
    """Return what ``work(rank, *arguments)`` gives in every process of a group: an error as text, None of one that died."""
    with tempfile.TemporaryDirectory() as folder:
        ends = [_CONTEXT.Pipe(duplex=False) for _ in range(size)]
        members = [
            _CONTEXT.Process(target=_member, args=(rank, size, f"{folder}/meeting", ends[rank][1], work, arguments))
            for rank in range(size)
        ]
        for one, (_, theirs) in zip(members, ends, strict=True):
            one.start()
            theirs.close()
        found = [_heard(mine) for mine, _ in ends]
        for one in members:
            one.join(SECONDS)
            one.kill()
            one.join()
        return found


def _heard(end: Any) -> Any:
    try:
        return end.recv() if end.poll(SECONDS) else "no answer"
    except EOFError:
        return None


def _member(rank: int, size: int, meeting: str, end: Any, work: Any, arguments: tuple[Any, ...]) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    dist.barrier()  # or one that is done at once would be gone before others have found it
    try:
        found = work(rank, *arguments)
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    end.send(found)
    dist.destroy_process_group()
