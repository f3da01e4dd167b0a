"""Door 1, series: the forecaster, what it keeps of each series, and how it is trained and read."""
