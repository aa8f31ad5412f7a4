"""Dead channels: constant ones are folded into what reads them, unread ones go, and the answers stay.

A channel is removed where it is provable that no output moves by more than a bound that lies below what a float32 can
show: see ``analysis``. One analysis on a graph of its own kind, and an adapter a format.
"""
