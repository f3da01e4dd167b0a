"""Print the losses of every fit at a fixed seed with every digit: `python tests/frozen/losses.py`.

Two checkouts that print the same text on one machine train alike to the last bit.
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from frozen.make_frozen import CASES, losses_of, partial_answers

if __name__ == "__main__":
    torch.set_num_threads(1)  # two threads add in another order
    json.dump({**{name: losses_of(name) for name in CASES}, "partial_fit": partial_answers()}, sys.stdout, indent=1)
    print()
