"""Titans neural memory behind scikit-learn's face: read any length of history at constant cost, with nothing cut.

The names below are imported when first used, so that ``import titans_ts`` costs next to nothing: torch, polars,
Biopython and matplotlib arrive only with what needs them.

Examples
--------
>>> import titans_ts
>>> titans_ts.make_seasonal(n_steps=48, n_channels=2).shape
(48, 2)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from titans_ts.datasets.load import list_datasets as list_datasets
    from titans_ts.datasets.load import load_dataset as load_dataset
    from titans_ts.datasets.motifs import make_dna_motifs as make_dna_motifs
    from titans_ts.datasets.recall import make_recall as make_recall
    from titans_ts.datasets.series import make_panel as make_panel
    from titans_ts.datasets.series import make_recurring as make_recurring
    from titans_ts.datasets.series import make_regimes as make_regimes
    from titans_ts.datasets.series import make_seasonal as make_seasonal
    from titans_ts.datasets.streams import make_streams as make_streams
    from titans_ts.dna.classify import DNAClassifier as DNAClassifier
    from titans_ts.dna.classify import DNARegressor as DNARegressor
    from titans_ts.dna.language_model import DNALanguageModel as DNALanguageModel
    from titans_ts.frames.splits import PanelTimeSeriesSplit as PanelTimeSeriesSplit
    from titans_ts.learn.checkpoint import Checkpoint as Checkpoint
    from titans_ts.learn.saving import load as load
    from titans_ts.series.forecaster import TitansForecaster as TitansForecaster
    from titans_ts.series.state import MemoryState as MemoryState
    from titans_ts.series.store.memory_store import MemoryStore as MemoryStore
    from titans_ts.windows.anomaly import TitansAnomalyDetector as TitansAnomalyDetector
    from titans_ts.windows.classify import TitansClassifier as TitansClassifier
    from titans_ts.windows.classify import TitansRegressor as TitansRegressor
    from titans_ts.windows.embedder import TitansEmbedder as TitansEmbedder

__version__ = "0.1.0"

_HOME_OF = {
    "Checkpoint": "titans_ts.learn.checkpoint",
    "DNAClassifier": "titans_ts.dna.classify",
    "DNALanguageModel": "titans_ts.dna.language_model",
    "DNARegressor": "titans_ts.dna.classify",
    "MemoryState": "titans_ts.series.state",
    "MemoryStore": "titans_ts.series.store.memory_store",
    "PanelTimeSeriesSplit": "titans_ts.frames.splits",
    "TitansForecaster": "titans_ts.series.forecaster",
    "TitansAnomalyDetector": "titans_ts.windows.anomaly",
    "TitansClassifier": "titans_ts.windows.classify",
    "TitansEmbedder": "titans_ts.windows.embedder",
    "TitansRegressor": "titans_ts.windows.classify",
    "list_datasets": "titans_ts.datasets.load",
    "load": "titans_ts.learn.saving",
    "load_dataset": "titans_ts.datasets.load",
    "make_dna_motifs": "titans_ts.datasets.motifs",
    "make_panel": "titans_ts.datasets.series",
    "make_recall": "titans_ts.datasets.recall",
    "make_recurring": "titans_ts.datasets.series",
    "make_regimes": "titans_ts.datasets.series",
    "make_seasonal": "titans_ts.datasets.series",
    "make_streams": "titans_ts.datasets.streams",
}

__all__ = ["__version__", *_HOME_OF]  # noqa: PLE0604  every key is a name


def __getattr__(name: str) -> Any:
    """Import a public name from the module it lives in, the first time it is asked for (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'titans_ts' has no attribute {name!r}; it offers {', '.join(sorted(_HOME_OF))}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value  # the next access finds it without coming here
    return value


def __dir__() -> list[str]:
    """List the public names, also those not imported yet."""
    return sorted({*globals(), *__all__})
