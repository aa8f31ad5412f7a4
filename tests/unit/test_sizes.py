"""The size of a download, also of files that are too large to deflate in passing."""

import zlib

import numpy as np
import pytest

from tinsmith.convert.inspection.sizes import deflated_bytes, deflated_estimate


@pytest.mark.parametrize("zeros", [0.0, 0.7])
def test_a_large_file_is_estimated_from_a_sample(tmp_path, zeros):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=2_000_000).astype(np.float32)
    weights[rng.random(weights.size) < zeros] = 0
    (tmp_path / "large").write_bytes(weights.tobytes())
    size, estimated = deflated_estimate(tmp_path / "large")
    assert estimated
    assert size == pytest.approx(deflated_bytes(tmp_path / "large"), rel=0.01)


def test_a_small_file_is_measured(tmp_path):
    content = bytes(range(256)) * 1000
    (tmp_path / "small").write_bytes(content)
    assert deflated_estimate(tmp_path / "small") == (len(zlib.compress(content, 9)), False)
