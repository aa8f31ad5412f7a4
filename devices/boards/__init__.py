"""Virtual boards: arm64 boards that this machine emulates, for whoever has none at hand, and for tests.

Five kinds, each a real Debian behind a real server: ``ssh`` (OpenSSH in namespaces and at an address of its own; needs
root), ``proot`` (the same without root), ``adb`` (a real adbd; needs root), ``vm`` (a whole machine with a disk of its
own, whose power can be cut) and ``icount`` (the same, and it counts instructions). A board comes as from the shop:
Python is there, and nothing of ours. ``starting`` starts and stops them, ``faults`` breaks them. Their time is
emulated, and never a device's latency.
"""
