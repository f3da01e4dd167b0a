"""Pictures, drawn on matplotlib's objects: of series (``series.py``), memories (``memory.py``) and bases (``bases.py``).

No global state is touched: without ``ax`` a new figure is made that ``pyplot`` does not know. It is shown or written only
when asked (``axes.figure.savefig("forecast.png")``, or :func:`save_figure`).
"""

from titans_ts.plots.bases import plot_logo as plot_logo
from titans_ts.plots.bases import plot_mutagenesis as plot_mutagenesis
from titans_ts.plots.figures import ACTUAL as ACTUAL
from titans_ts.plots.figures import ALERT as ALERT
from titans_ts.plots.figures import FORECAST as FORECAST
from titans_ts.plots.figures import HISTORY as HISTORY
from titans_ts.plots.figures import save_figure as save_figure
from titans_ts.plots.memory import plot_memory as plot_memory
from titans_ts.plots.series import plot_backtest as plot_backtest
from titans_ts.plots.series import plot_forecast as plot_forecast
from titans_ts.plots.series import plot_surprise as plot_surprise
