"""Seeds of all chance."""

from __future__ import annotations

from tinsmith.runtime.errors import UsageError

__all__ = ["LARGEST_SEED", "check_seed"]

# NumPy's older generator takes 32 bits, and TensorFlow and Keras seed it.
LARGEST_SEED = 2**32 - 1


def check_seed(seed: int) -> None:
    """Refuse a seed that some source of chance does not take.

    Raises:
        UsageError: It is below 0 or above ``LARGEST_SEED``.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise UsageError(f"the seed {seed} is not between 0 and {LARGEST_SEED}", hint="give a smaller one: --seed 0")
