"""The command line's common ground: options that recur, and how results and errors are shown."""
