"""The embedder: numeric sequences of any length, a row of numbers each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from titans_ts.learn.arguments import argument, with_arguments
from titans_ts.learn.estimator import COUNT
from titans_ts.windows.foretelling import UnsupervisedWindows
from titans_ts.windows.reader import embeddings


@with_arguments
class TitansEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, UnsupervisedWindows):
    """Embed numeric sequences of any length, by a neural memory that was trained to forecast them.

    No labels are needed: the network reads a sequence patch by patch and learns to forecast the next patch. The mean, the
    maximum and the last of what it holds after each patch are the embedding, to go before any head of scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.sin(np.arange(50) * np.linspace(0.1, 1, 20)[:, None])
    >>> TitansEmbedder(width=16, max_steps=5, random_state=0).fit_transform(X).shape
    (20, 48)
    """

    layers: int = argument(1, COUNT, doc="Layers of the network; with 0 every patch is embedded on its own.")

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return the embedding of each sequence, ``(n, 3 width)``.

        Parameters
        ----------
        X : container like that of ``fit``
            Sequences.
        """
        check_is_fitted(self)
        return embeddings(self.network_, self._read_items(X))

    @property
    def _n_features_out(self) -> int:
        return 3 * self.network_.config.backbone.width
