"""Devices: how to reach them, put artifacts on them, and measure how fast these run there."""
