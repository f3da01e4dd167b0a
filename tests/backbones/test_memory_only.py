"""LMM: the memory alone, built as a configuration says."""

import torch
from backbones.cases import make_backbone
from memory.cases import memory_by_letter, tokens
from tolerances import assert_agree

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.memory_beside import build_memory


@torch.no_grad()
def test_is_the_memory():
    layer = make_backbone("lmm", layers=1).blocks[0].sequence_layer
    x = tokens(2, 11, 8)
    assert_agree(layer(x, layer.initial_state(2))[0], memory_by_letter(layer.memory, x)[0])


def test_every_setting_reaches_the_memory():
    config = BackboneConfig(
        "lmm", "titans", 12, heads=3, memory_depth=3, memory_expansion=1.5, refresh_every=7, convolution=5,
        momentum=False, forgetting=False,
    )  # fmt: skip
    memory = build_memory(config)
    assert [tuple(w.shape) for w in memory.store.layers] == [(3, 4, 6), (3, 6, 6), (3, 6, 4)]
    assert memory.rule.refresh_every == 7
    assert memory.convolution.kernel == 5
    assert (memory.gates.momentum, memory.gates.forgetting) == (False, False)
    assert len(build_memory(BackboneConfig("lmm", "titans_linear", memory_depth=3)).store.layers) == 1
