"""Measuring on a device: one process loads an artifact, warms it up, times it, and says under which conditions.

``python -m tinsmith.runtime.measuring BASE`` is what a host asks over any transport. BASE/bench keeps artifacts that
were sent::

    bench/SHA256.tflite       an artifact, whole
    bench/SHA256.tflite.part  what has come of one that is being sent; the host goes on where it ends
"""
