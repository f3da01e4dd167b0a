"""How anything is trained, kept in a file and shown to scikit-learn."""
