"""Write the samples beside this file: `python datasets/make_samples.py [FOLDER]`.

Small series made by `titans_ts.datasets.series`, so they carry no licence but the library's own.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from titans_ts import make_panel, make_regimes


def main(folder: Path) -> None:
    """Write ``two_shops_long.csv`` (long) and ``machine_wide.csv`` (wide) into `folder`."""
    shops = make_panel(n_series=2, min_steps=280, max_steps=320, prefix="shop", random_state=7)
    shops["y"] = (100 + 20 * shops["y"]).round(2)  # sales an hour
    shops.to_csv(folder / "two_shops_long.csv", index=False, lineterminator="\n")

    values, _ = make_regimes(n_steps=600, n_channels=3, n_motifs=4, motif_length=24, random_state=7)
    stamps = np.datetime64("2024-01-01", "m") + np.arange(600) * np.timedelta64(10, "m")
    machine = pd.DataFrame(values.round(3), columns=["load", "vibration", "temperature"])
    machine.insert(0, "ds", stamps)
    machine.to_csv(folder / "machine_wide.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "samples"))
