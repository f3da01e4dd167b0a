"""How a forecaster learns from a panel: its base solved, its memory trained, its intervals calibrated."""
