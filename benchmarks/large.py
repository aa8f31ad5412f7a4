"""Block-wise int4 of transformers, out of core, beside onnxruntime's own quantizer; each in a process of its own.

python -m benchmarks.large ours|theirs|proof|command SOURCE OUTPUT    is what those processes run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.figure import Figure
from benchmarks.subjects import BUILD, ROOT

_BLOCK = 32
_GIB = 1 << 30
_PAIRS = 2
# A machine on which 5.2 GB of float32 can't be run, and their int4 can.
_LIMIT = 6 * _GIB


def figures():
    """124 M: the numbers. 1.3 B: memory and time."""
    folder = BUILD / "large"
    yield from _equality(_built("gpt2-124m", folder), folder)
    yield from _equality(_built("bert-110m", folder), folder)
    for name in ("gpt2-1.3b", "bert-1.3b"):
        try:
            yield from _bounds(name, _built(name, folder), folder)
        finally:
            _remove(folder / f"{name}.onnx")


def _built(name, folder):
    """In a process of its own: its memory is not to be counted here."""
    path = folder / f"{name}.onnx"
    subprocess.run([sys.executable, "-m", "benchmarks.transformers", name, str(path)], check=True, capture_output=True)
    return path


def _equality(source, folder):
    ours, theirs = folder / "ours.onnx", folder / "theirs.onnx"
    seen = {way: _measured(way, source, output) for way, output in (("ours", ours), ("theirs", theirs))}
    found, other = _constants(ours), _constants(theirs)
    blocked = [name for name in other if name.endswith(("_Q4", "_scales", "_zero_points"))]
    differing = [name for name in blocked if name not in found or found[name] != other[name]]
    yield Figure(
        name=f"{source.stem} int4 weights, scales and zero points that differ from onnxruntime's",
        value=len(differing),
        bar=0,
        seen=f"[of {len(blocked)}; {_said(seen['ours'])}, onnxruntime's {_said(seen['theirs'])}]",
    )
    _remove(ours), _remove(theirs)


def _bounds(name, source, folder):
    ours, theirs = folder / "ours.onnx", folder / "theirs.onnx"
    seen = {"ours": [], "theirs": []}
    for number in range(_PAIRS):
        order = ("ours", "theirs") if number % 2 == 0 else ("theirs", "ours")
        for way in order:
            _remove(ours if way == "ours" else theirs)
            seen[way].append(_measured(way, source, ours if way == "ours" else theirs))
    _remove(theirs)
    peak = max(run["peak_bytes"] for run in seen["ours"])
    their_peak = max(run["peak_bytes"] for run in seen["theirs"])
    yield Figure(
        name=f"{name} to int4: peak memory of the quantizer (VmHWM)",
        value=round(peak / _GIB, 3),
        bar=1.0,
        unit=" GiB",
        seen=f"[onnxruntime's {their_peak / _GIB:.2f} GiB]",
    )
    times = {way: [run["wall_s"] for run in runs] for way, runs in seen.items()}
    yield Figure(
        name=f"{name} to int4: wall time against onnxruntime's quantizer",
        value=round(median(a / b for a, b in zip(times["ours"], times["theirs"], strict=True)), 3),
        bar=1.0,
        seen=f"[{_list(times['ours'])} against {_list(times['theirs'])} s in {_PAIRS} pairs]",
    )
    yield from _proof(name, source, ours, median(times["theirs"]))
    yield from _command(name, source, ours, median(times["theirs"]))
    _remove(ours)


def _proof(name, source, ours, their_wall_s):
    """What nobody else does: every weight that was written, held against its original."""
    proof = _measured("proof", source, ours)
    yield Figure(
        name=f"{name}: peak memory of the proof, tensor by tensor (VmHWM)",
        value=round(proof["peak_bytes"] / _GIB, 3),
        bar=1.0,
        unit=" GiB",
        seen=f"[{proof['wall_s']:.1f} s beside {their_wall_s:.1f} s of onnxruntime's quantizer; {proof['found']}]",
    )


def _command(name, source, ours, their_wall_s):
    """All of `tinsmith compress` where the float model does not fit: quantizer, proof, and a run of the artifact."""
    _remove(ours)
    whole = _measured("command", source, ours)
    yield Figure(
        name=f"{name}: tinsmith compress -r int4-weights in {_LIMIT // _GIB} GiB of address space, peak memory (VmHWM)",
        value=round(whole["peak_bytes"] / _GIB, 3),
        bar=1.0,
        unit=" GiB",
        seen=f"[the child that runs it apart: {whole['child_bytes'] / _GIB:.2f} GiB; {whole['wall_s']:.1f} s, "
        f"proof and run included, beside {their_wall_s:.1f} s of onnxruntime's quantizer, which proves nothing]",
    )


def _measured(way, source, output):
    """Wall time of the whole process, and its VmHWM: mapped pages count there."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.large", way, str(source), str(output)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return {"wall_s": time.perf_counter() - started, **json.loads(done.stdout.splitlines()[-1])}


def _said(run):
    return f"{run['wall_s']:.1f} s, {run['peak_bytes'] / _GIB:.2f} GiB"


def _list(times):
    return ", ".join(f"{value:.1f}" for value in times)


def _constants(path):
    """A digest of each constant, by name."""
    import hashlib

    import onnx

    model = onnx.load(str(path))
    return {
        t.name: hashlib.sha256(onnx.numpy_helper.to_array(t).tobytes()).hexdigest() for t in model.graph.initializer
    }


def _remove(path):
    for end in ("", ".data", ".json"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _ours(source, output):
    from tinsmith.convert.quantization.blockwise import Blocks
    from tinsmith.convert.quantization.out_of_core import draft, write_in_blocks

    write_in_blocks(draft(source, Blocks(block_size=_BLOCK)), output)


def _theirs(source, output):
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(onnx.load(str(source)), block_size=_BLOCK, is_symmetric=False)
    quantizer.process()
    quantizer.model.save_model_to_file(str(output), use_external_data_format=True)


def _prove(source, output):
    from tinsmith.convert.quantization.weight_proof import prove_weights

    return str(prove_weights(source, output))


def _compress(source, output):
    import resource

    from tinsmith.__main__ import run

    resource.setrlimit(resource.RLIMIT_AS, (_LIMIT, _LIMIT))
    code = run(["compress", str(source), "-r", "int4-weights", "-o", str(output), "--time-limit", "600"])
    assert code == 0, code


def _child_bytes():
    import resource

    return 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def _peak_bytes():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def _main(way, source, output):
    ways = {"ours": _ours, "theirs": _theirs, "proof": _prove, "command": _compress}
    found = ways[way](Path(source), Path(output))
    print(json.dumps({"peak_bytes": _peak_bytes(), "child_bytes": _child_bytes(), "found": found}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
