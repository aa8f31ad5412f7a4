"""The closed loop: look at devices, and where they drift or slow down make their bundle anew, prove it, roll it out."""
