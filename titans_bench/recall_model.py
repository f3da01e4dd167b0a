"""One model of the recall bench: tokens in, a backbone, answers out; trained short, scored at any length."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.stack import Backbone
from titans_ts.backbones.state import pack
from titans_ts.datasets.recall import VOCABULARY, Task, make_recall

TOKENS_AT_ONCE = 65_536  # tokens of an evaluation that are read side by side; changes no score
VALIDATION, TEST = 10_000_019, 20_000_003  # added to a seed, so that no part sees the sequences of another


class RecallNetwork(nn.Module):
    """A backbone between an embedding and a linear answer; for the task ``"motif"`` it reads and answers numbers."""

    def __init__(self, config: BackboneConfig, task: Task) -> None:
        super().__init__()
        words = VOCABULARY[task]
        self.embed: nn.Module = nn.Embedding(words, config.width) if words else nn.Linear(1, config.width)
        self.backbone = Backbone(config)
        self.answer = nn.Linear(config.width, words or 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return answers ``(b, t, words)``, or ``(b, t)`` for numbers."""
        hidden, _ = self.backbone(self.embed(inputs), self.backbone.initial_state(len(inputs)))
        answers: Tensor = self.answer(hidden)
        return answers if answers.shape[-1] > 1 else answers[..., 0]

    def state_floats(self, length: int) -> int:
        """Return how many numbers the state of one sequence holds after ``length`` tokens."""
        with torch.no_grad():
            inputs = torch.zeros(1, length, 1) if isinstance(self.embed, nn.Linear) else torch.zeros(1, length).long()
            _, state = self.backbone(self.embed(inputs.to(self.answer.weight.device)), self.backbone.initial_state(1))
        return sum(x.numel() for x in pack(state).values() if x.is_floating_point())


def parameters(module: nn.Module) -> int:
    """Return the number of learned parameters."""
    return sum(x.numel() for x in module.parameters())


def _parameters_of(config: BackboneConfig, task: Task) -> int:
    """Return how many parameters a network has, without drawing its weights."""
    with torch.device("meta"):
        return parameters(RecallNetwork(config, task))


def matched(config: BackboneConfig, task: Task, target: int) -> BackboneConfig:
    """Return the configuration whose feed-forward layers bring its parameters within a tenth of a target."""
    inner = 3 * config.width * config.layers  # parameters of one unit of inner width
    least = replace(config, feedforward_expansion=1 / config.width)
    missing = target - _parameters_of(least, task)
    units = 1 + max(round(missing / inner), 0)
    chosen = replace(config, feedforward_expansion=(units + 0.5) / config.width)  # int() of it times the width is `units`
    found = _parameters_of(chosen, task)
    if abs(found - target) > 0.1 * target:
        raise ValueError(f"{config.variant} with {config.memory}: {found:,} parameters cannot be brought to {target:,}")
    return chosen


def loss_of(answers: Tensor, targets: Tensor) -> Tensor:
    """Return cross-entropy, or the mean squared error of numbers, where something is asked."""
    if answers.ndim == 2:
        asked = ~targets.isnan()
        return (answers[asked] - targets[asked]).square().mean()
    return nn.functional.cross_entropy(answers.flatten(0, 1).float(), targets.flatten(), ignore_index=-1)


@torch.no_grad()
def score(network: RecallNetwork, task: Task, *, length: int, sequences: int, seed: int) -> list[float]:
    """Return a share for each sequence: keys answered right, whole numbers right (0 or 1), variance of a motif explained."""
    made = make_recall(task, length=length, sequences=sequences, random_state=seed)
    device = network.answer.weight.device
    at_once = max(TOKENS_AT_ONCE // length, 1)
    found: list[float] = []
    for first in range(0, sequences, at_once):
        part = slice(first, first + at_once)
        answers = network(torch.from_numpy(made.inputs[part]).to(device)).float().cpu()
        found += shares_of(task, answers, torch.from_numpy(made.targets[part]))
    return found


def shares_of(task: Task, answers: Tensor, targets: Tensor) -> list[float]:
    """Return what :func:`score` returns, of answers that are there."""
    if task == "motif":
        asked = ~targets.isnan()
        error = torch.where(asked, answers - targets, 0).square().sum(1) / asked.sum(1)
        return (1 - error).clamp_min(0).tolist()  # motifs have variance 1
    asked = targets >= 0
    right = (answers.argmax(-1) == targets) & asked
    shares = right.sum(1) / asked.sum(1)
    return (shares if task == "associative" else (shares == 1).float()).tolist()
