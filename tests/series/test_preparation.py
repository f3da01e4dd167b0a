"""What is learned from the training rows before any network is."""

import numpy as np
import pandas as pd
import pytest
from series.estimator_cases import one_step

from titans_ts import TitansForecaster

SMALL = {"horizon": 4, "lookback": 24, "patch_length": 8, "layers": 0, "max_steps": 2, "validation_fraction": 0.2}


@pytest.mark.parametrize(("days", "cycles"), [(10, ("day",)), (900, ("day", "week")), (912, ("day", "week", "year"))])
def test_a_cycle_counts_once_training_has_seen_it_twice(days, cycles):
    """Of 900 days, 720 are for training, less than two years; of 912, 729.6."""
    times = pd.date_range("2023-01-01", periods=4 * days, freq="6h")
    frame = pd.DataFrame({"load": np.sin(np.arange(4 * days))}, index=times)
    assert TitansForecaster(**SMALL, callbacks=[one_step]).fit(frame).preparation_.cycles == cycles
