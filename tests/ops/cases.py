"""Random inputs for the tests of the ops: tiny, with calm and loud stretches, so that a bound bites in some only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, product

import torch
from torch import Tensor

from titans_ts.backbones.state import map_tensors
from titans_ts.ops import Gates, StoreNorm, StoreState, WriteRule

CALM, LOUD = 0.1, 3.0
"""Scale of the values; it alternates every :data:`STRETCH` tokens."""
STRETCH = 40
BOUND = 3.0
"""A write bound that bites in loud stretches; :func:`assert_bites` holds it to that."""


@dataclass(frozen=True)
class Case:
    """All that a memory is given."""

    q: Tensor
    k: Tensor
    v: Tensor
    gates: Gates
    rule: WriteRule
    state: StoreState
    initial: tuple[Tensor, ...]
    norm: StoreNorm | None = None

    def tokens(self, start: int, stop: int) -> Case:
        """Return the same case for some of its tokens."""
        q, k, v = (x[:, :, start:stop] for x in (self.q, self.k, self.v))
        gates = Gates(*(None if gate is None else gate[:, :, start:stop] for gate in self.gates))
        return replace(self, q=q, k=k, v=v, gates=gates)

    def sequence(self, index: int) -> Case:
        """Return the case of one sequence of the batch."""
        one = slice(index, index + 1)
        gates = Gates(*(None if gate is None else gate[one] for gate in self.gates))
        state = map_tensors(lambda x: x[one], self.state)
        return replace(self, q=self.q[one], k=self.k[one], v=self.v[one], gates=gates, state=state)

    def inputs(self) -> dict[str, Tensor]:
        """Return every tensor that a gradient may reach, by name."""
        named = {"q": self.q, "k": self.k, "v": self.v, **self.gates._asdict()}
        for part in ("weights", "momentum", "anchor", "sums", "recent"):
            named |= {f"state.{part}[{i}]": w for i, w in enumerate(getattr(self.state, part) or ())}
        named |= {} if self.state.crowd is None else {"state.crowd": self.state.crowd}
        named |= {f"initial[{i}]": w for i, w in enumerate(self.initial)}
        named |= {f"norm.{name}": x for name, x in (self.norm._asdict() if self.norm else {}).items()}
        return {name: x for name, x in named.items() if x is not None}

    def call(self, execute: Callable, **how: object) -> tuple[Tensor, StoreState]:
        """Return what a memory makes of this case."""
        parts = {"initial": self.initial, "norm": self.norm}
        return execute(self.q, self.k, self.v, self.gates, self.rule, self.state, **parts, **how)

    def to(self, dtype: torch.dtype) -> Case:
        """Return the case in another precision."""
        gates = Gates(*(None if gate is None else gate.to(dtype) for gate in self.gates))
        state = map_tensors(lambda x: x.to(dtype), self.state)._replace(sums=self.state.sums)
        q, k, v = (x.to(dtype) for x in (self.q, self.k, self.v))
        norm = None if self.norm is None else StoreNorm(*(x.to(dtype) for x in self.norm))
        return Case(q, k, v, gates, self.rule, state, tuple(w.to(dtype) for w in self.initial), norm)

    def tracked(self) -> Case:
        """Return the case with every input a leaf that asks for its gradient."""
        for x in self.inputs().values():
            x.requires_grad_()
        return self


def make_case(
    rule: WriteRule,
    *,
    depth: int = 1,
    length: int = 63,
    batch: int = 2,
    heads: int = 2,
    momentum: bool = True,
    retention: bool = True,
    norm: bool = False,
    position: int = 0,
    seed: int = 0,
) -> Case:
    """Return a case of key width 3, inner width 4 and value width 5, carried on from ``position``.

    With a norm keys and values are 8 wide: over 3 entries a variance is now and then all but 0, and rounding is blown up.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    widths = [8 if norm else 3] + [4] * (depth - 1) + [8 if norm else 5]
    shapes = list(pairwise(widths))
    tokens = (batch, heads, length)
    q, k, v = (normal(*tokens, width) for width in (widths[0], widths[0], widths[-1]))
    k = k / k.norm(dim=-1, keepdim=True)
    loud = torch.arange(length) // STRETCH % 2 == 1
    v = v * torch.where(loud, LOUD, CALM).double()[:, None]
    step = 0.01 if rule.refresh_every < 64 else 0.002  # many writes at one anchor overshoot when they are unclipped
    forget = -0.01 * uniform(*tokens) - 0.5 * (uniform(*tokens) < 0.01)  # slow, now and then a good part
    gates = Gates(
        log_step=math.log(step) + 0.5 * normal(*tokens),
        log_retention=forget if retention else None,
        log_momentum=-0.1 - uniform(*tokens) if momentum else None,
    )
    scale = 0.15 if depth == 1 else 0.7
    crowd = None
    if rule.damping:
        seen = (position % rule.refresh_every > 0) * 0.3 * normal(batch, heads, widths[0], widths[0])
        crowd = seen @ seen.mT
    ridge, penalty = rule.objective == "ridge", None
    if ridge:
        penalty = math.log(0.3) + 0.5 * normal(batch, heads, 1).expand(tokens)
        seen = normal(batch, heads, 2, widths[0])  # fewer than the key is wide: the penalty alone holds the system
        sums = (seen.mT @ seen, normal(batch, heads, widths[0], widths[-1]))
    recent = None
    if rule.window > 1:
        before = (batch, heads, rule.window - 1)
        recent = (normal(*before, widths[0]), 0.3 * normal(*before, widths[-1]), step * (0.5 * normal(*before)).exp())
    state = StoreState(
        weights=tuple(scale * normal(batch, heads, *shape) for shape in shapes),
        momentum=tuple(0.1 * normal(batch, heads, *shape) for shape in shapes) if momentum else None,
        anchor=() if ridge else tuple(scale * normal(batch, heads, *shape) for shape in shapes),
        position=position,
        crowd=crowd,
        sums=sums if ridge else None,
        recent=recent,
    )
    initial = tuple(scale * normal(heads, *shape) for shape in shapes)
    around = StoreNorm(1 + 0.3 * normal(heads, 8), 0.3 * normal(heads, 8)) if norm else None
    return Case(q, k, v, gates._replace(log_penalty=penalty), rule, state, initial, around)


def run(execute: Callable, case: Case, **how: object) -> dict[str, Tensor]:
    """Return all that a memory gives back, by name: outputs, surprise and the state to carry on."""
    surprise = [case.q.new_empty(len(case.initial), *case.q.shape[:2], 0)]
    output, state = case.call(execute, observe=surprise.append, **how)
    return {"output": output, "surprise": torch.cat(surprise, dim=-1), **named_state(state)}


def fold(execute: Callable, case: Case, cuts: Sequence[int], **how: object) -> dict[str, Tensor]:
    """Return what :func:`run` does, from one call for every piece between the cuts."""
    surprise = [case.q.new_empty(len(case.initial), *case.q.shape[:2], 0)]
    outputs, state = [], case.state
    for start, stop in pairwise([0, *cuts, case.q.shape[2]]):
        piece = replace(case.tokens(start, stop), state=state)
        output, state = piece.call(execute, observe=surprise.append, **how)
        outputs.append(output)
    output = torch.cat(outputs, dim=2)
    return {"output": output, "surprise": torch.cat(surprise, dim=-1), **named_state(state)}


def named_state(state: StoreState) -> dict[str, Tensor]:
    """Return every part of a state by name, its position too."""
    named = {"position": torch.tensor(state.position, dtype=torch.float64)}
    for part in ("weights", "momentum", "anchor", "sums", "recent"):
        named |= {f"{part}[{i}]": w for i, w in enumerate(getattr(state, part) or ())}
    return named if state.crowd is None else named | {"crowd": state.crowd}


def gradients(results: dict[str, Tensor], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradient of one random weighting of the results, the state among them, for every input."""
    generator = torch.Generator().manual_seed(1)
    loss = 0.0
    for name, x in results.items():
        if name not in ("position", "surprise"):
            loss = loss + (x * torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)).sum()
    found = torch.autograd.grad(loss, list(inputs.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(inputs, found, strict=True))


def assert_bites(surprise: Tensor, bound: float) -> None:
    """Fail unless the bound clips some writes and leaves stretches of 8 tokens unclipped in some layer."""
    clipped = (surprise > bound).flatten(1, 2).any(1)  # layers t
    share = clipped.double().mean()
    assert clipped.any(), f"no write exceeds {bound}: the largest is {surprise.max():.2f}"
    calm = ~clipped[:, : clipped.shape[1] // 8 * 8].unflatten(1, (-1, 8)).any(-1)
    assert calm.any(), f"every stretch of 8 tokens holds a clipped write; {share:.0%} of the tokens have one"


Row = dict[str, object]
Pair = tuple[tuple[str, object], tuple[str, object]]


def covering_rows(**levels: Sequence[object]) -> list[Row]:
    """Return few rows, one level of every factor each, so that every two levels of two factors occur together in one.

    Most faults need two settings to meet, and hardly any need three; the rows grow with the product of the two largest
    factors, not of all.
    """
    missing = all_pairs(levels)
    rows = []
    while missing:
        row = dict(next(iter(missing)))  # a dict keeps its order: the rows are the same every time
        for name, choices in levels.items():
            if name not in row:
                new = [sum(pair in missing for pair in pairs_of({**row, name: level}, levels)) for level in choices]
                row[name] = choices[new.index(max(new))]
        row = {name: row[name] for name in levels}
        rows.append(row)
        for pair in pairs_of(row, levels):
            missing.pop(pair, None)
    return rows


def assert_covers(rows: Sequence[Row], levels: dict[str, Sequence[object]]) -> None:
    """Fail unless every two levels of two factors occur together in some row."""
    missing = set(all_pairs(levels)).difference(*(pairs_of(row, levels) for row in rows))
    assert not missing, f"no row has {sorted(map(str, missing))}"


def all_pairs(levels: dict[str, Sequence[object]]) -> dict[Pair, None]:
    """Return every two levels of two factors."""
    both = (product([(a, x) for x in levels[a]], [(b, y) for y in levels[b]]) for a, b in combinations(levels, 2))
    return dict.fromkeys((a, b) for pairs in both for a, b in pairs)


def pairs_of(row: Row, levels: dict[str, Sequence[object]]) -> list[Pair]:
    """Return the pairs of levels that a row has, or a part of one."""
    return [((a, row[a]), (b, row[b])) for a, b in combinations([n for n in levels if n in row], 2)]
