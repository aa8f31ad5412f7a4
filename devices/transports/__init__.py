"""Transports: how a device is reached, behind three small protocols that third parties can satisfy as well.

``local`` (this machine), ``ssh`` and ``adb`` come with tinsmith; others are found by the entry point
``tinsmith.transports``, whose name is the scheme of the address (``serial://…``).
"""
