"""How closely two computations of the same thing must agree: one policy, softened by no environment.

Differences are measured against the largest entry of what was expected (at least 1e-3), so that small entries beside
large ones, and zeros, cannot trip it.
"""

import torch

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2}


def assert_agree(actual: torch.Tensor, expected: torch.Tensor, *, name: str = "tensor") -> None:
    """Fail unless the two agree in shape, in where they are finite, and in value at the policy of the coarser dtype."""
    assert actual.shape == expected.shape, f"{name}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    if actual.numel() == 0:
        return
    bound = max(TOLERANCE[actual.dtype], TOLERANCE[expected.dtype])
    actual, expected = actual.detach().double(), expected.detach().double()
    assert torch.isfinite(expected).all(), f"{name}: the expected values are not finite"
    error = (actual - expected).abs().max() / expected.abs().max().clamp_min(1e-3)
    assert error <= bound, f"{name}: relative error {error:.2e} exceeds {bound:.0e}"  # NaN fails too
