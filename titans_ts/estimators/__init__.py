"""scikit-learn's face: arguments, checks, containers in and out, files. No mathematics here."""
