"""Arguments of estimators: one constructor, one range and one meaning each, inherited."""

from numbers import Integral
from typing import Any

import pytest
from learn.every_case import EVERY
from sklearn.base import BaseEstimator, clone
from sklearn.utils._param_validation import InvalidParameterError, StrOptions

from titans_ts.learn.arguments import argument, constraints, positional, with_arguments


@with_arguments
class Reader(BaseEstimator):
    """Read.

    Notes
    -----
    Slowly.
    """

    rows: int = positional(Integral, default=3, doc="How many.")
    order: str = argument("up", StrOptions({"up", "down"}), None, doc="Which way.")
    weight: Any = argument(None, None, dict, StrOptions({"balanced"}), doc="How much each counts.")

    _parameter_constraints = property(lambda self: constraints(type(self)))


@with_arguments
class FastReader(Reader):
    """Read fast.

    Attributes
    ----------
    speed_ : float
        Rows a second.

    Notes
    -----
    But not at once.
    """

    rows: int = 30


def test_arguments_are_inherited_and_a_default_can_be_another():
    assert FastReader().get_params() == {"rows": 30, "order": "up", "weight": None}
    assert repr(FastReader(rows=5)) == "FastReader(rows=5)"
    with pytest.raises(InvalidParameterError, match="'rows' parameter of FastReader must be an instance of"):
        FastReader(rows="many")._validate_params()


def test_only_what_is_said_to_be_positional_goes_without_its_name():
    assert Reader(5).rows == 5
    with pytest.raises(TypeError):
        Reader(5, "down")


def test_the_docstring_has_every_argument_once_before_its_other_sections():
    text = Reader.__doc__
    places = [text.index(part) for part in ("Read.", "Parameters\n---", "rows : int, default=3", "Notes\n---")]
    assert places == sorted(places)
    assert 'order : {"down", "up"} or None, default="up"\n    Which way.' in text
    assert 'weight : dict, "balanced" or None, default=None' in text
    assert "rows : int, default=30" in FastReader.__doc__


def test_attributes_and_notes_of_the_base_come_after_those_of_the_class():
    text = FastReader.__doc__
    assert text.count("Notes\n-----") == 1
    assert text.endswith(
        "Attributes\n----------\nspeed_ : float\n    Rows a second.\n\nNotes\n-----\nBut not at once.\n\nSlowly."
    )


@pytest.mark.parametrize("name", EVERY)
def test_every_estimator_is_hashable_cloned_and_shown_as_scikit_learn_does(name):
    kind = type(EVERY[name].model)
    model = kind(width=12)
    assert hash(model) == hash(model)
    assert model != kind(width=12)
    assert repr(model) == f"{kind.__name__}(width=12)"
    assert clone(model).get_params() == model.get_params()
    assert kind.__name__ in model._repr_html_()
    for argument_name in model.get_params():
        assert argument_name in kind.__doc__
