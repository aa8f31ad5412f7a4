"""Compression: recipes, their plan, and the passes that make a model smaller."""
