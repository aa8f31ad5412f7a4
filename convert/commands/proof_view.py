"""How a proof is shown; ``convert`` and ``compress`` print the same rows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinsmith.convert.comparison import Difference
    from tinsmith.convert.parity import Proof

__all__ = ["proof_facts"]


def proof_facts(proof: Proof) -> list[tuple[str, object]]:
    """What was proven, one row a fact."""
    agreed = "-" if proof.agreement is None else f"{proof.agreement:.1%} name the same class"
    if proof.unrun:
        proven = f"{proof.unrun}; not run beside its source: {proof.origin}"
        return [("proven", proven), ("precision", _precision(proof)), ("batch axis", proof.batch)]
    return [
        ("proven on", proof.origin),
        *(("difference", _difference(difference)) for difference in proof.differences),
        ("agreement", agreed),
        ("precision", _precision(proof)),
        ("batch axis", proof.batch),
    ]


def _difference(difference: Difference) -> str:
    noise = "equal" if difference.snr_db is None else f"{difference.snr_db:.1f} dB"
    return f"{difference.output}: largest {difference.largest:.2g}, mean {difference.mean:.2g}, {noise}"


def _precision(proof: Proof) -> str:
    counts: Counter[str] = Counter()
    for use in proof.operators:
        counts[use.precision] += use.count
    return ", ".join(f"{count} {precision}" for precision, count in counts.most_common() if precision != "-")
