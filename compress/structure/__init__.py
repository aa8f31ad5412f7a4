"""Structured pruning: which channels of a Keras model must go together, and the smaller model without them."""
