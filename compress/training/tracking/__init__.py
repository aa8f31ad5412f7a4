"""Where the course of a training or a search is written, besides the screen: one module for each tracker."""

from tinsmith.compress.training.tracking.trackers import Trackers, open_trackers, open_trial_trackers

__all__ = ["Trackers", "open_trackers", "open_trial_trackers"]
