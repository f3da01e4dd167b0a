"""One fixture that runs a test on every kind of frame."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest


@dataclass(frozen=True)
class Library:
    """A library of frames, pandas twice: its columns are numpy's or Arrow's."""

    name: str
    with_arrow: bool = False

    @property
    def kind(self) -> Any:
        return {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.Table}[self.name]

    def frame(self, columns: Any) -> Any:
        """Return a pandas frame, or what makes one, as a frame of this library."""
        frame = pd.DataFrame(columns)
        if self.name == "pandas":
            return frame.convert_dtypes(dtype_backend="pyarrow", convert_floating=False) if self.with_arrow else frame
        table = pa.Table.from_pandas(frame, preserve_index=False)
        return pl.from_arrow(table) if self.name == "polars" else table

    def to_pandas(self, frame: Any) -> pd.DataFrame:
        assert isinstance(frame, self.kind)
        return frame if self.name == "pandas" else frame.to_pandas()


@pytest.fixture(
    params=[Library("pandas"), Library("pandas", with_arrow=True), Library("polars"), Library("pyarrow")],
    ids=["pandas", "pandas-arrow", "polars", "pyarrow"],
)
def library(request) -> Library:
    return request.param
