"""Two paths that each answer about a whole sequence, and how much each counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.stack import Backbone
from titans_ts.blocks.chance import Dropout
from titans_ts.learn.batches import batches_by_length

Objective = Literal["binary", "classes", "numbers"]
"""What is asked of a sequence: one of two classes, one of several, or numbers."""


def sequence_loss(objective: Objective, answers: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of answers ``(n, outputs)``, ``(n,)``: cross-entropy in nats, or the mean squared error.

    Targets are class indices ``(n,)`` or numbers ``(n, outputs)``; two classes are answered by one log-odds.
    """
    if objective == "binary":
        return F.binary_cross_entropy_with_logits(answers[:, 0], targets.to(answers.dtype), reduction="none")
    if objective == "classes":
        return F.cross_entropy(answers, targets, reduction="none")
    return (answers - targets).square().mean(1)


class Pooled(NamedTuple):
    """A summary of the tokens read so far, of fixed size."""

    total: Tensor  # b d, their sum
    greatest: Tensor  # b d, their maximum
    last: Tensor  # b d
    tokens: Tensor  # b, how many

    @classmethod
    def nothing(cls, like: Tensor) -> Pooled:
        """Return the summary before the first token, for ``(b, d)``."""
        zeros = torch.zeros_like(like)
        return cls(zeros, zeros - torch.inf, zeros, zeros[:, 0].long())

    def add(self, tokens: Tensor, counts: Tensor) -> Pooled:
        """Add tokens ``(b, n, d)``, of which the first ``counts`` of each row count."""
        outside = (torch.arange(tokens.shape[1], device=tokens.device) >= counts[:, None])[..., None]
        end = tokens[torch.arange(len(tokens), device=tokens.device), (counts - 1).clamp_min(0)]
        return Pooled(
            self.total + tokens.masked_fill(outside, 0).sum(1),
            torch.maximum(self.greatest, tokens.masked_fill(outside, -torch.inf).amax(1)),
            torch.where((counts > 0)[:, None], end, self.last),
            self.tokens + counts,
        )

    def features(self) -> Tensor:
        """Return mean, maximum and last, ``(b, 3 d)``."""
        return torch.cat([self.total / self.tokens[:, None], self.greatest, self.last], dim=1)


class SequenceHead(nn.Module):
    """Map mean, maximum and last of a sequence's tokens to its outputs; starts at zero."""

    def __init__(self, width: int, outputs: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3 * width)
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(3 * width, outputs)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map ``(b, 3 d)`` to ``(b, outputs)``."""
        answers: Tensor = self.output(self.dropout(self.norm(pooled)))
        return answers


class SilentLinear(nn.Linear):
    """A linear layer that starts at zero; it may have no inputs."""

    def reset_parameters(self) -> None:
        """Set everything to zero."""
        with torch.no_grad():
            for x in self.parameters():
                x.zero_()


READ_AT_ONCE = 256
"""Sequences of a batch; changes nothing else."""

Path = Literal["both", "linear", "memory"]

Answering = Callable[[Tensor, Tensor], Tensor]
"""Sequences ``(b, c, t)`` and lengths ``(b,)`` to ``(b, outputs)``."""

Averaging = Callable[[Answering], Answering]

TOKENS_AT_ONCE = 16_384
"""Tokens read in one call; bounds the memory that a long sequence takes and changes no answer."""


class TwoPaths(nn.Module):
    """A linear path, which answers alone without layers, and beside it a stem whose tokens a backbone reads.

    The stem makes tokens of a part of a sequence, as :class:`titans_ts.blocks.motifs.MotifStem` does.
    """

    share: Tensor  # how far the answer goes from the linear path alone, 0, to the balance of both, 1
    balance: Tensor  # 2, weights of the linear path and of the memory there
    linear_parts: tuple[str, ...] = ()  # names of the modules that make up the linear path

    def __init__(self, stem: nn.Module, backbone: BackboneConfig, outputs: int) -> None:
        super().__init__()
        self.stem: Any = stem
        self.backbone = Backbone(backbone)
        self.head = SequenceHead(backbone.width, outputs, dropout=backbone.dropout)
        self.outputs = outputs
        self.register_buffer("share", torch.ones(()))
        self.register_buffer("balance", torch.tensor([0.0, 1.0]))

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the weights."""
        return self.head.output.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.output.weight.device

    @property
    def is_linear(self) -> bool:
        """Whether there is no memory to answer beside the linear path."""
        return not self.backbone.config.layers

    def batch(self, items: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Return sequences as one batch ``(b, c, t)``, padded, and their lengths ``(b,)``."""
        raise NotImplementedError

    def linear_answer(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return the answer of the linear path alone, ``(b, outputs)``."""
        raise NotImplementedError

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Answer ``(b, c, t)``, of which the first ``lengths`` steps count, with ``(b, outputs)``."""
        linear = self.linear_answer(inputs, lengths)
        if self.is_linear:
            return linear
        return self.mixed(linear, self.memory_answer(inputs, lengths))

    def mixed(self, linear: Tensor, memory: Tensor) -> Tensor:
        """Go from the linear answer towards the balance of both, as far as the share says."""
        best = self.balance[0] * linear + self.balance[1] * memory
        return linear + self.share * (best - linear)

    def memory_answer(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return the answer of the memory alone, ``(b, outputs)``."""
        answers: Tensor = self.head(self.features(inputs, lengths))
        return answers

    def features(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return what the head reads of each sequence, ``(b, 3 d)``; tokens are read in parts, at constant memory."""
        state, read = self.backbone.initial_state(len(inputs)), self.stem.initial_state(len(inputs))
        pooled = Pooled.nothing(inputs.new_zeros(len(inputs), self.backbone.config.width))
        step = TOKENS_AT_ONCE * self.stem.patch_length
        for first in range(0, inputs.shape[-1], step):
            tokens, counts, read = self.stem(inputs, lengths, read, first=first, end=first + step)
            hidden, state = self.backbone(tokens, state)
            pooled = pooled.add(hidden, counts)
        return pooled.features()


@torch.no_grad()
def answer_all(network: TwoPaths, items: Sequence[Any], *, average: Averaging | None = None, by: Path = "both") -> Tensor:
    """Return what a network, put into evaluation mode, answers about each sequence, ``(n, outputs)``.

    ``by`` is the path that answers; ``average`` makes of its answers those to give: for DNA the mean over both strands.
    """
    network.eval()
    paths: dict[str, Answering] = {"both": network, "linear": network.linear_answer, "memory": network.memory_answer}
    if by not in paths:
        raise ValueError(f"by={by!r} is not known; choose one of {', '.join(map(repr, paths))}")
    if by == "memory" and network.is_linear:
        raise ValueError("by='memory': layers=0, so that this model has no memory to answer; ask by='linear'")
    answer = paths[by]
    answer = answer if average is None else average(answer)
    found = torch.zeros(len(items), network.outputs, dtype=network.dtype, device=network.device)
    for places in batches_by_length([len(one) for one in items], READ_AT_ONCE):
        found[torch.as_tensor(places)] = answer(*network.batch([items[i] for i in places]))
    return found
