"""The monitor: whether what a model sees and says still looks as it did when its bundle was made."""
