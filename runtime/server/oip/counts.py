"""The statistics extension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.runtime.server.statistics import BatchTimes

if TYPE_CHECKING:
    from tinsmith.runtime.server.serving import ServedModel
    from tinsmith.runtime.server.statistics import Durations, Snapshot

__all__ = ["model_statistics"]


def model_statistics(model: ServedModel) -> dict[str, Any]:
    """One model's part of ``GET v2/models/stats``; times in nanoseconds."""
    seen = model.statistics.snapshot()
    return {
        "name": model.servable.name,
        "version": model.servable.version,
        "last_inference": seen.last_ms,
        "inference_count": seen.inferences,
        "execution_count": seen.executions,
        "inference_stats": {
            "success": _durations(seen.success),
            "fail": _durations(seen.failure),
            "queue": _durations(seen.queue),
            "compute_input": _durations(seen.compute_input),
            "compute_infer": _durations(seen.compute_infer),
            "compute_output": _durations(seen.compute_output),
            "cache_hit": {"count": 0, "ns": 0},
            "cache_miss": {"count": 0, "ns": 0},
        },
        "batch_stats": [_batch(seen, size) for size in sorted(seen.batches)],
    }


def _durations(durations: Durations) -> dict[str, int]:
    return {"count": durations.count, "ns": durations.total_ns}


def _batch(seen: Snapshot, size: int) -> dict[str, Any]:
    """Of the runs that held ``size`` requests."""
    runs, times = seen.batches[size], seen.batch_times.get(size, BatchTimes())
    return {
        "batch_size": size,
        "compute_input": {"count": runs, "ns": times.input_ns},
        # every request of a batch was given the time of the whole
        "compute_infer": {"count": runs, "ns": times.infer_ns // size},
        "compute_output": {"count": runs, "ns": times.output_ns},
    }
