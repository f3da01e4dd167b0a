"""Letters are as tall as their contributions and stand where they belong; the map holds the effects it was given."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("matplotlib", reason="drawing needs matplotlib: pip install 'titans-ts[plot]'")
from matplotlib.figure import Figure

from titans_ts.plots import plot_logo, plot_mutagenesis

ATTRIBUTION = np.array([[1.0, -2.0, 0.5, 0.0], [0.0, 3.0, 0.0, -1.0]])


def boxes(axes):
    """Return (left, low, high) of every letter."""
    found = [patch.get_path().get_extents() for patch in axes.patches]
    return sorted((round(box.x0, 2), round(box.y0, 6), round(box.y1, 6)) for box in found)


def test_all_letters_of_one_sign_stand_upon_one_another():
    first, second = 1 - 0.46, 2 - 0.46
    expected = [(first, -2, 0), (first, 0, 0.5), (first, 0.5, 1.5), (second, -1, 0), (second, 0, 3)]
    assert boxes(plot_logo(ATTRIBUTION)) == [tuple(round(x, 2) for x in box) for box in expected]


def test_of_a_sequence_only_its_own_letters_are_drawn():
    axes = plot_logo(ATTRIBUTION, "ct", start_1based=100, title="here")
    assert boxes(axes) == [(99.54, -2, 0), (100.54, -1, 0)]
    assert axes.get_title("left") == "here"


def test_it_draws_into_axes_that_are_given():
    axes = Figure().subplots()
    assert plot_logo(ATTRIBUTION, ax=axes) is axes
    assert len(axes.patches) == 5


@pytest.mark.parametrize(
    ("attribution", "sequence", "message"),
    [
        (np.zeros((3, 5)), None, r"attribution has shape \(3, 5\); expected \(t, 4\)"),
        (np.zeros(4), None, r"expected \(t, 4\)"),
        (ATTRIBUTION, "ACG", "sequence has 3 bases, attribution 2 rows"),
        (ATTRIBUTION, "A-", "'-' at position 2"),
    ],
)
def test_what_does_not_fit_is_refused(attribution, sequence, message):
    with pytest.raises(ValueError, match=message):
        plot_logo(attribution, sequence)


def effects(**columns):
    return pd.DataFrame({"position_1based": [5, 5, 6], "ref": list("AAC"), "alt": list("CGT")} | columns)


def test_the_map_holds_the_effects_and_leaves_the_rest_blank():
    axes = plot_mutagenesis(effects(effect=[0.5, -1.0, 2.0]))
    (image,) = axes.images
    shown = np.ma.filled(image.get_array(), np.nan)
    expected = np.full((4, 2), np.nan)
    expected[1, 0], expected[2, 0], expected[3, 1] = 0.5, -1.0, 2.0
    np.testing.assert_array_equal(shown, expected)
    assert image.get_clim() == (-2.0, 2.0)
    assert image.get_extent() == [4.5, 6.5, 3.5, -0.5]


def test_of_several_effects_one_is_named():
    frame = effects(effect_a=[1.0, 2, 3], effect_b=[4.0, 5, 6])
    assert np.nanmax(plot_mutagenesis(frame, column="effect_b").images[0].get_array()) == 6
    with pytest.raises(ValueError, match="name an effect, one of 'effect_a', 'effect_b'"):
        plot_mutagenesis(frame)
