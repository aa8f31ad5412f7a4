"""What every ``Spread`` does, by the workers of a cluster, each of which watches a process of its own."""

import functools

import pytest

from tests.contract.test_spreads import (  # noqa: F401 - its fixture  # noqa: F401 - run here
    WORKER,
    importable,
    test_each_job_has_one_outcome,
    test_it_can_be_asked_again,
    test_what_no_recipe_can_change_ends_it,
)
from tinsmith.compress.search.cluster import DaskSpread
from tinsmith.compress.search.spreading import Care, LocalSpread
from tinsmith.compress.search.subject import Subject
from tinsmith.convert.cluster import Cluster


@pytest.fixture
def spread(dask_cluster, golden, tmp_path):
    subject = Subject(model=golden / "dense.tflite", data=None)
    opens = functools.partial(LocalSpread, care=Care(workers=1), command=WORKER)
    (tmp_path / "work").mkdir()
    with Cluster(dask_cluster.scheduler_address) as cluster:
        yield DaskSpread(cluster, subject, opens, tmp_path / "work")
