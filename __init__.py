"""tinsmith: make a trained model small, prove what that cost, and put it on the device."""

from tinsmith.runtime._version import __version__

__all__ = ["__version__"]
