"""How a model of the recall bench is trained: over distances that grow with what it answers, until it answers all.

The rule is the same for every model, and looks at training sequences alone, which are fresh at every step.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from titans_bench.recall_model import RecallNetwork, loss_of, shares_of
from titans_ts.blocks.chance import dropping_by, seeded_generator
from titans_ts.datasets.recall import NEAREST, SHORTEST, Task, make_recall
from titans_ts.learn.progress import progress_bar
from titans_ts.learn.run import AdamW, mixed_precision
from titans_ts.memory.gates import gates_apart

LEARNED, JUDGED = 0.9, 20
"""Share of answers right over so many steps at which a distance is widened."""
MASTERED, SETTLED = 0.995, 60
"""Share of answers right over so many steps at which training comes to its end."""


@dataclass
class Curriculum:
    """Which distance is taught at a step, at what share of the learning rate, and when training is over.

    It begins at the nearest, and is doubled, up to the whole length, once it is :data:`LEARNED`, or after an eighth of all
    steps. Once the whole length is :data:`MASTERED`, or where only so many steps are left, the rate falls to nothing over a
    fifth of all steps, and training ends (warm-up, constant, decay: arXiv 2404.06395).
    """

    length: int  # tokens of a training sequence
    steps: int  # at most
    distance: int = NEAREST  # of this step, at most; see `make_recall`
    step: int = 0  # those taken
    since: int = 0  # step at which the distance began
    right: list[float] = field(default_factory=list)  # share of each of the last steps
    ending: int | None = None  # step at which the rate began to fall

    @property
    def tokens(self) -> int:
        """Return the tokens of this step's sequences: half of them hold near answers."""
        return max(self.length // 2, SHORTEST) if 2 * self.distance <= self.length else self.length

    @property
    def rate(self) -> float:
        """Return this step's share of the learning rate; 0 when training is over."""
        warmed = min(1.0, (self.step + 1) / max(self.steps // 20, 1))
        return warmed if self.ending is None else warmed * max(1 - (self.step - self.ending) / self._falling, 0.0)

    @property
    def _falling(self) -> int:
        return max(self.steps // 5, 1)

    def heard(self, right: float) -> None:
        """Take in the share of answers that were right at this step, and go on to the next."""
        self.step += 1
        self.right = [*self.right, right][-SETTLED:]
        learned = self._right_over(JUDGED) >= LEARNED or self.step - self.since >= self.steps // 8
        if self.distance < self.length and learned:
            self.distance, self.since, self.right = min(2 * self.distance, self.length), self.step, []
        mastered = self.distance == self.length and self._right_over(SETTLED) >= MASTERED
        if self.ending is None and (mastered or self.step >= self.steps - self._falling):
            self.ending = self.step

    def _right_over(self, steps: int) -> float:
        return float(np.mean(self.right[-steps:])) if len(self.right) >= steps else 0.0


def train(
    network: RecallNetwork,
    task: Task,
    curriculum: Curriculum,
    *,
    batch_size: int,
    learning_rate: float,
    seed: int,
    label: str = "",
    verbose: int | None = 0,
) -> None:
    """Train in place, on fresh sequences at every step, for as long as the curriculum says."""
    device = network.answer.weight.device
    learned = list(network.parameters())
    groups = [
        {"params": [x for x in learned if x.ndim >= 2], "weight_decay": 0.01, "peak": learning_rate},
        {"params": [x for x in learned if x.ndim < 2], "weight_decay": 0.0, "peak": learning_rate},
    ]
    optimizer = AdamW(gates_apart(groups, network), lr=0.0, betas=(0.9, 0.98))
    network.train()
    bar = progress_bar(verbose, label, unit="step", total=curriculum.steps)
    with dropping_by(seeded_generator(seed, device), network), bar:
        while curriculum.rate > 0:
            made = make_recall(
                task,
                length=curriculum.tokens,
                sequences=batch_size,
                distance=curriculum.distance,
                random_state=np.random.default_rng([seed, curriculum.step]),
            )
            inputs, targets = (torch.from_numpy(x).to(device) for x in (made.inputs, made.targets))
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * curriculum.rate
            with mixed_precision("auto", device):
                answers = network(inputs)
                loss = loss_of(answers, targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            curriculum.heard(float(np.nanmean(shares_of(task, answers.detach(), targets))))
            bar.update()
    network.eval()
