"""The server: artifacts and bundles on the Open Inference Protocol, over HTTP.

::

    socket → listener (or an ASGI server) → handler → repository → served model → session
             bytes to Request               routes    names,        queue, batches,
             and back                       checks    swaps         interpreters

Nothing here imports numpy before a model is loaded: a device that waits for its first model holds no more than Python.
"""
