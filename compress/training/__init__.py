"""Training: one engine for every pass that trains, in a process of its own."""
