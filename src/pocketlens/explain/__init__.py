"""What data looks like and why a model answers as it does: pure computing, no wiring."""
