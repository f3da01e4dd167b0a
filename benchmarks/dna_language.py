"""A language model of E. coli: bits a base on the last fifth of the genome, beside Markov models in the same run.

    python benchmarks/dna_language.py             # counts and a mixture of Markov models, ours, ours with its memory reset
    python benchmarks/dna_language.py --stream    # the whole genome in one stream: memory, seconds, halves against the whole

Trained on the first four fifths, of which the last twentieth chooses; judged on the last fifth.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import psutil
import torch

from titans_ts import DNALanguageModel, load_dataset
from titans_ts.dna.bases import Codes, decode, reverse_complement
from titans_ts.dna.language import RecordState
from titans_ts.dna.sequences import stream_records
from titans_ts.learn.run import stop_after

ORDERS = tuple(range(1, 13))
PRIORS = (1 / 64, 1 / 16, 1 / 4, 1.0, 4.0)
RESET_EVERY = 512


def genome() -> Codes:
    (record,) = stream_records(load_dataset("ecoli_k12").path)
    return record.codes


def contexts(codes: Codes, order: int) -> np.ndarray:
    """Return the number of the ``order`` bases before each base from the 12th on."""
    found = np.zeros(len(codes) - ORDERS[-1], np.int64)
    for back in range(order, 0, -1):
        found = 4 * found + codes[ORDERS[-1] - back : len(codes) - back]
    return found


class MarkovModels:
    """Orders 1 to 12 counted on both strands, each with its own prior, and their linear mixture, both by validation."""

    def __init__(self, training: Codes, validation: Codes) -> None:
        self.counts = []
        for order in ORDERS:
            words = np.concatenate([4 * contexts(s, order) + s[12:] for s in (training, reverse_complement(training))])
            self.counts.append(np.bincount(words, minlength=4 ** (order + 1)).astype(np.float32))
        self.priors = [
            min(PRIORS, key=lambda prior: -np.log(self.of_order(i, validation, prior)).mean()) for i in range(len(ORDERS))
        ]
        of_bases = self.probabilities(validation)
        self.weights = np.full(len(ORDERS), 1 / len(ORDERS))
        for _ in range(200):  # expectation maximisation
            shares = self.weights[:, None] * of_bases
            self.weights = (shares / shares.sum(0)).mean(1)

    def of_order(self, i: int, codes: Codes, prior: float) -> np.ndarray:
        """Return the probability that one order gives each base."""
        context = contexts(codes, ORDERS[i])
        after = self.counts[i].reshape(-1, 4)[context]
        return (after[np.arange(len(after)), codes[12:]] + prior) / (after.sum(1) + 4 * prior)

    def probabilities(self, codes: Codes) -> np.ndarray:
        return np.stack([self.of_order(i, codes, prior) for i, prior in enumerate(self.priors)])

    def report(self, test: Codes) -> None:
        of_bases = self.probabilities(test)
        alone = -np.log2(of_bases).mean(1)
        best = int(alone.argmin())
        print(f"| best single Markov model, order {ORDERS[best]} | {alone[best]:.4f} | |")
        print(f"| mixture of orders 1 to 12 | {-np.log2(self.weights @ of_bases).mean():.4f} | |", flush=True)


def fitted(training: Codes, seed: int, minutes: float, **arguments: int) -> tuple[DNALanguageModel, float]:
    began = time.perf_counter()
    model = DNALanguageModel(random_state=seed, callbacks=[stop_after(60 * minutes)], **arguments)
    return model.fit([decode(training)]), time.perf_counter() - began


def bits_with_resets(model: DNALanguageModel, training: Codes, test: Codes) -> float:
    """Return bits a base where the memory starts afresh every so often, while contexts reach back as ever."""
    network, total, before = model.network_, 0.0, training[-32:]
    joined = np.concatenate([before, test])
    pieces = [test[i : i + RESET_EVERY] for i in range(0, len(test), RESET_EVERY)]
    for first in range(0, len(pieces), 64):
        group = pieces[first : first + 64]
        state = network.initial_state(len(group))
        begins = [len(before) + RESET_EVERY * (first + i) for i in range(len(group))]
        tail = torch.from_numpy(np.stack([joined[begin - state.tail.shape[1] : begin] for begin in begins]))
        size = max(map(len, group))
        codes = torch.from_numpy(np.stack([np.pad(one, (0, size - len(one)), constant_values=4) for one in group]))
        with torch.no_grad():
            logits = network(codes, state._replace(tail=tail)).logits
        values = logits.log_softmax(-1).gather(-1, codes.clamp_max(3).long()[..., None])[..., 0]
        total -= float(values[codes < 4].double().sum())
    return total / int((test < 4).sum()) / np.log(2)


def bits_carried(model: DNALanguageModel, training: Codes, test: Codes) -> float:
    """Return bits a base where the memory has read the last 65,536 bases of training, and reads on."""
    state = RecordState.fresh(model.network_).read(model.network_, training[-65_536:])
    after = state.read(model.network_, test)
    return -(after.total - state.total) / (after.scored - state.scored) / np.log(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=20.0, help="of training")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--max-steps", type=int, default=DNALanguageModel().max_steps)
    arguments = parser.parse_args()
    codes = genome()
    if arguments.stream:
        stream(codes)
        return
    cut = len(codes) * 4 // 5
    training, test = codes[:cut], codes[cut:]
    print("| | bits a base | fit, seconds |\n|---|---|---|", flush=True)
    MarkovModels(training[: cut * 19 // 20], training[cut * 19 // 20 :]).report(test)
    alone, seconds = fitted(training, arguments.seed, arguments.minutes, layers=0, max_steps=arguments.max_steps)
    print(f"| contexts mixed by a network (direct path alone) | {bits_carried(alone, training, test):.4f} | {seconds:.0f} |")
    model, seconds = fitted(training, arguments.seed, arguments.minutes, max_steps=arguments.max_steps)
    reset = bits_with_resets(model, training, test)
    print(f"| with the memory, reset every {RESET_EVERY} bases | {reset:.4f} | {seconds:.0f} |", flush=True)
    print(f"| with the memory carried | {bits_carried(model, training, test):.4f} | {seconds:.0f} |", flush=True)


def stream(codes: Codes) -> None:
    """Read the genome in pieces of 65,536 bases, and say what it costs."""
    model, _ = fitted(codes[:400_000], 0, 1.0, max_steps=100)
    process, piece = psutil.Process(), 65_536
    state, sizes, began = RecordState.fresh(model.network_), [], time.perf_counter()
    for first in range(0, len(codes), piece):
        state = state.read(model.network_, codes[first : first + piece])
        sizes.append(process.memory_info().rss / 2**20)
    seconds, flat = time.perf_counter() - began, sizes[2:]
    print(f"read {state.n_seen:,} of {len(codes):,} bases in {seconds:.0f} s, {1e6 * seconds / len(codes):.0f} us a base")
    print(
        f"resident MiB after 131,072 bases {flat[0]:.0f}, greatest {max(flat):.0f}: {100 * (max(flat) / flat[0] - 1):.1f} %"
    )
    half = len(codes) // 2
    first_half = RecordState.fresh(model.network_).read(model.network_, codes[:half])
    joined = first_half.read(model.network_, codes[half:])
    print(f"halves joined: {joined.mean:.9f} nats a base, whole: {state.mean:.9f}; state {state.nbytes:,} bytes")


if __name__ == "__main__":
    main()
