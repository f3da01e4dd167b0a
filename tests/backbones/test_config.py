"""A backbone's settings: what does not fit is refused by name."""

import pytest

from titans_ts.backbones.config import LATER, BackboneConfig
from titans_ts.backbones.variants import BASELINES, VARIANTS, WITH_MEMORY


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "MAC"}, r"variant='MAC' is not known; choose one of mac, mag, mal, lmm"),
        ({"memory": "rnn"}, r"memory='rnn' is not known; choose one of .*titans, titans_linear"),
        ({"width": 10, "heads": 4}, r"width must be a multiple of heads, got width=10 and heads=4"),
        ({"width": 0}, r"width must be 1 or more, got 0"),
        ({"memory_depth": 0}, r"memory_depth must be 1 or more, got 0"),
        ({"refresh_every": 0}, r"refresh_every must be 1 or more, got 0"),
        ({"window": -1}, r"window must be 1 or more, got -1"),
        ({"convolution": 0}, r"convolution must be 1 or more, got 0"),
        ({"layers": -1}, r"layers must be 0 or more, got -1"),
        ({"persistent_tokens": -1}, r"persistent_tokens must be 0 or more, got -1"),
        ({"dropout": -0.1}, r"dropout must be 0 or more, got -0.1"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        BackboneConfig(**settings)


def test_no_heads_are_refused_by_name():
    with pytest.raises(ValueError, match="heads must be 1 or more, got 0"):
        BackboneConfig(heads=0)


@pytest.mark.parametrize("variant", BASELINES)
def test_a_memory_that_would_not_be_used_is_refused_by_name(variant):
    message = (
        f"variant='{variant}' has no memory, got memory='titans_linear'; leave memory at its default or choose a variant "
        "that has one: mac, mag, mal, lmm"
    )
    with pytest.raises(ValueError, match=message):
        BackboneConfig(variant, "titans_linear")
    assert BackboneConfig(variant, "titans", memory_depth=3, refresh_every=2).variant == variant


def test_patterns_that_centring_would_empty_are_refused_by_name():
    with pytest.raises(ValueError, match="variant='hopfield' .* 2 or more wide, got width=4 and heads=4; use fewer heads"):
        BackboneConfig("hopfield", width=4, heads=4)
    assert BackboneConfig("hopfield", width=4, heads=2).heads == 2


def test_a_variant_has_a_memory_or_is_a_baseline():
    assert WITH_MEMORY + BASELINES == VARIANTS
    assert len(set(VARIANTS)) == len(VARIANTS)


def test_every_variant_is_accepted():
    assert [BackboneConfig(variant=name).variant for name in VARIANTS] == list(VARIANTS)


def test_what_older_files_lack_means_what_it_meant_and_is_not_written():
    new = BackboneConfig()
    assert BackboneConfig.from_dict(new.to_dict()) == new
    older = {name: value for name, value in new.to_dict().items() if name not in LATER}
    assert BackboneConfig.from_dict(older) == BackboneConfig(passes=False)
    assert BackboneConfig.from_dict(older).to_dict() == older
