"""What `titans-ts demo | evaluate | bench` runs: public protocols on public data, and the demo."""
