"""Models: load them, change their format, quantize them, and prove the result equal."""
