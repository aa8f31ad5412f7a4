"""Bundles: an artifact and all that it needs to be served and checked, in one signed file, ``app.tin``."""
