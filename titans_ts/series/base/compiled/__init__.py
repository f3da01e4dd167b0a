"""The base in compiled loops, where the library was built: the numbers of the modules beside, some ten times as fast."""
