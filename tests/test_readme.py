"""The README's blocks run as they stand, in their order; only training is cut to a few steps."""

import re
from pathlib import Path

import numpy as np
import pytest

import titans_ts
from titans_ts.series.learning import fitting

README = Path(titans_ts.__file__).parents[1] / "README.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
ESTIMATORS = [name for name in titans_ts.__all__ if name.startswith(("Titans", "DNA"))]


def prepare(folder, data):
    """Write the files that the README speaks of; return what it takes for granted."""
    import pandas as pd

    from titans_ts import TitansForecaster, make_dna_motifs, make_panel

    data[-48:].to_parquet(folder / "years.parquet", index=False)
    sequences, _ = make_dna_motifs(2, length=3000, random_state=0)
    for name, sequence in zip(("genome.fa", "other.fa"), sequences, strict=True):
        (folder / name).write_text(f">chr1\n{sequence}\n")
    ref = sequences[0][1999]
    alt = "A" if ref != "A" else "C"
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (folder / "variants.vcf").write_text(f"{header}chr1\t2000\t.\t{ref}\t{alt}\t.\t.\t.\n")
    wells = make_panel(9, min_steps=200, max_steps=200, random_state=0)
    names = {name: f"well {k}" for k, name in enumerate(sorted(set(wells["unique_id"])))}
    wells["unique_id"] = wells["unique_id"].map(names)
    last = wells.groupby("unique_id")["ds"].max()
    todays_rows = pd.DataFrame({"unique_id": last.index, "ds": last.to_numpy() + np.timedelta64(1, "h"), "y": 1.0})
    return {"many": TitansForecaster(4, lookback=48, random_state=0).fit(wells), "todays_rows": todays_rows}


@pytest.mark.slow
def test_the_blocks_run(data_home, tmp_path, monkeypatch, heard):
    pytest.importorskip("matplotlib", reason="the README draws: titans-ts[plot]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "is_heard", heard)  # what readers see
    for name in ESTIMATORS:
        defaults = getattr(titans_ts, name).__init__.__kwdefaults__
        for argument, value in {"max_steps": 1, "verbose": 0}.items():
            if argument in defaults:
                monkeypatch.setitem(defaults, argument, value)
    names = prepare(tmp_path, titans_ts.load_dataset("vic_elec").frame)
    blocks = BLOCK.findall(README.read_text(encoding="utf-8"))
    assert len(blocks) >= 4
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert (tmp_path / "demand.titans").exists()
