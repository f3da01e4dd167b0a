"""The card of a fitted forecaster."""

import numpy as np
import pandas as pd
import pytest
from series.estimator_cases import COVARIATES, covariate_frame, fitted, long_frame, wave

from titans_ts import TitansForecaster, load
from titans_ts.series.card import bytes_by_part


def test_a_card_tells_what_was_read_and_what_each_part_earned():
    model = fitted(long_frame())
    card = model.summary()
    text = str(card)
    assert card.sections["read"][:4] == [
        ("series", "2"),
        ("rows of each", "300"),
        ("from, to", "2024-03-29, 2024-04-10 11:00:00"),
        ("frequency", "h"),
    ]
    assert dict(card.sections["sizes, in rows"])["look-back"] == "48"
    for one in model.earned_:
        assert one.part in text
        assert f"{one.error:.3f}" in text
    weights = [float(said.split()[1]) for _, said in card.sections["base"] if said.startswith("weight")]
    assert sum(weights) == pytest.approx(1, abs=0.01 * len(weights))
    assert repr(model).startswith("TitansForecaster(")
    html = card._repr_html_()
    assert html.count("<tr>") == sum(1 + len(lines) for lines in card.sections.values())


def test_names_are_escaped_and_covariates_told():
    frame = covariate_frame().rename(columns={"y": "<b>"})
    card = fitted(frame, layers=0, target_columns="<b>", **COVARIATES).summary()
    assert ("past covariates", "past") in card.sections["read"]
    assert "<b>" not in card._repr_html_()


def test_bytes_by_part_are_those_of_the_state():
    model = fitted(wave())
    for state in model.states_.values():
        assert sum(bytes_by_part(state).values()) == state.nbytes
    assert "neural memory" in bytes_by_part(model.states_[None])
    assert "neural memory" not in bytes_by_part(fitted(wave(), layers=0).states_[None])


@pytest.mark.parametrize(
    ("arguments", "rows", "said"),
    [
        ({"layers": 0}, 300, "none was asked for"),
        ({"validation_fraction": 0.0}, 300, "used whole: there was no validation part"),
        ({}, 300, "its correction are used|may be luck"),
        ({}, 40, "too few rows"),
    ],
)
def test_a_card_says_what_became_of_the_memory(arguments, rows, said):
    [(_, found)] = fitted(wave(rows, 1), **arguments).summary().sections["memory"]
    assert any(part in found for part in said.split("|"))


def test_the_card_of_a_file_lacks_but_the_seconds(tmp_path):
    model = TitansForecaster(3, lookback=12, layers=0).fit(pd.Series(np.sin(np.arange(90.0)), index=range(1900, 1990)))
    model.save(tmp_path / "a.titans")
    card = model.summary()
    sections = {name: lines for name, lines in card.sections.items() if name != "seconds of the fit"}
    assert load(tmp_path / "a.titans").summary().sections == sections
    assert ("from, to", "1900, 1989") in card.sections["read"]
