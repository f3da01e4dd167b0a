"""What the command line measures: public protocols on public data."""
