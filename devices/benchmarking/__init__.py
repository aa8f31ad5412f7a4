"""Measure artifacts on devices, in processes of their own, interleaved.

A confidence that comes from one process lies: medians of separate processes differ by 7 to 14 % on a shared machine,
while the spread inside one of them looks ten times smaller. So every measurement takes several processes, and models
and devices that are compared take turns.
"""
