"""The backbones by name. Nothing is imported here, so that the command line can list them before torch arrives."""

from __future__ import annotations

WITH_MEMORY = ("mac", "mag", "mal", "lmm")
"""Where the memory sits: as context of attention, as its gate, as a layer before it, or alone."""

BASELINES = ("attention", "full_attention", "lstm", "hopfield")
"""What the memory is compared with; these have none."""

VARIANTS = (*WITH_MEMORY, *BASELINES)
