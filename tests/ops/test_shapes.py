"""The check that holds tensors to their axis letters."""

import pytest
import torch

from titans_ts.ops.shapes import check_shape


def test_returns_sizes_by_letter():
    assert check_shape(torch.zeros(2, 4, 5, 8), "b h t k", name="keys") == {"b": 2, "h": 4, "t": 5, "k": 8}


def test_holds_sizes_that_are_asked_for():
    assert check_shape(torch.zeros(2, 3), "b t", name="x", b=2, t=3, k=9)["t"] == 3  # a letter it lacks says nothing
    with pytest.raises(ValueError, match=r"x has shape \(2, 3\); expected axis 't' of \(b, t\) to be 4"):
        check_shape(torch.zeros(2, 3), "b t", name="x", b=2, t=4)


@pytest.mark.parametrize("axes", ["b h t k", "b"])
def test_holds_the_number_of_axes(axes):
    letters = ", ".join(axes.split())
    with pytest.raises(ValueError, match=rf"gate has shape \(2, 3\); expected {len(axes.split())} axes, \({letters}\)"):
        check_shape(torch.zeros(2, 3), axes, name="gate")


def test_empty_axes():
    assert check_shape(torch.zeros(0, 3), "t k", name="x") == {"t": 0, "k": 3}
