"""Device, number format, and chance that leaves the global generators alone."""

import pytest
import torch

from titans_ts.learn.run import PRECISIONS, choose_device, mixed_precision, number_type, seeded

CPU = torch.device("cpu")


def test_seeded_gives_the_same_numbers_and_leaves_the_global_state():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    draws = []
    for _ in range(2):
        with seeded(3, CPU):
            draws.append(torch.randn(4))
        torch.testing.assert_close(torch.get_rng_state(), before)
    with seeded(4, CPU):
        assert not torch.equal(torch.randn(4), draws[0])
    assert torch.equal(*draws)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_puts_the_state_back_after_an_error():
    before = torch.get_rng_state()

    def fail() -> None:
        with seeded(3, CPU):
            torch.randn(4)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert torch.equal(torch.get_rng_state(), before)


def test_devices_by_name():
    assert choose_device("cpu") == CPU
    assert choose_device(CPU) == CPU
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("device", ["gpu", "cpu:x", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused_by_name(device):
    with pytest.raises(ValueError, match=f"device='{device}' cannot be used here"):
        choose_device(device)


def test_number_types():
    types = {name: number_type(name) for name in PRECISIONS}
    assert types.pop("float64") == torch.float64
    assert set(types.values()) == {torch.float32}
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16, float64; got 'half'"):
        number_type("half")


@pytest.mark.parametrize(
    ("precision", "lower"), [("auto", False), ("float32", False), ("float64", False), ("bfloat16", True)]
)
def test_products_are_shortened_only_when_asked(precision, lower):
    with mixed_precision(precision, CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if lower else torch.float32)
