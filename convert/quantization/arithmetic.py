"""Which integers a CPU multiplies right, and fastest.

Seen on ResNet8 with onnxruntime 1.32 (`python -m benchmarks arithmetic`; agreement with the float model over 2,000
images; instructions a run over float's, counted by valgrind, whose CPU has AVX2 and no VNNI; time over float's on a CPU
with VNNI):

==================================  ============  ============  ============  ==========
activations, weights                on VNNI       on AVX2       instructions  time, VNNI
==================================  ============  ============  ============  ==========
uint8, int8                         98.3 %        93.5 %        0.98          0.52
uint8, int8 in 7 bits               97.3 %        97.3 %        0.99          0.50
uint8, uint8                        97.7 %        97.7 %        1.52          1.09
int8, int8                          98.4 %        98.4 %        1.66          1.24
==================================  ============  ============  ============  ==========

So 7 bits on x86 without VNNI: what keeps all 8 is slower than float there. On Arm int8 times int8 is what sdot, smmla
and, before them, smull take as they are, and what onnxruntime's documentation advises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.convert.quantization.plan import Arithmetic

if TYPE_CHECKING:
    from tinsmith.convert.model import Format
    from tinsmith.runtime.cpu import Cpu

__all__ = ["arithmetic_for"]


def arithmetic_for(cpu: Cpu | None, artifact_format: Format) -> Arithmetic:
    """Choose the integers of an 8-bit artifact.

    Args:
        cpu: What it will run on; None takes the usual choice, which is right wherever nothing saturates.
        artifact_format: TFLite has int8 times int8 and no other. Its kernels widen to 16 bits before they multiply
            where a CPU has no VNNI, so that nothing saturates.
    """
    if artifact_format == "tflite":
        return Arithmetic(activations="int8", weights="int8")
    if cpu is None:
        return Arithmetic()
    if cpu.is_arm:
        return Arithmetic(activations="int8", weights="int8")
    return Arithmetic(reduce_range=cpu.saturates)
