"""Figures that the project promises, measured; not shipped and not tests."""
