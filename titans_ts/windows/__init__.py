"""Door 2, windows: whole sequences of numbers to a class, a number, an embedding or a surprise."""
