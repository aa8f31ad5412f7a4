"""What fits a device, from manifests and profiles alone."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from tinsmith.devices.fit import Load, check_fit, read_load
from tinsmith.runtime.artifact import (
    Artifact,
    DataFile,
    Lineage,
    OperatorUse,
    manifest_path,
    manifest_text,
    read_artifact,
)
from tinsmith.runtime.bundle.manifest import Manifest, Settings
from tinsmith.runtime.bundle.writing import write_bundle
from tinsmith.runtime.errors import DataError, VerificationError
from tinsmith.runtime.profile import Accelerator, load_profile

CONTENT = b"TFL3 of nothing"
PI4 = load_profile("pi4")
CORAL = load_profile("coral")


def artifact(**facts):
    usual = {
        "path": Path("small.tflite"),
        "format": "tflite",
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "size_bytes": len(CONTENT),
        "inputs": (),
        "outputs": (),
        "operators": (OperatorUse(name="CONV_2D", version=3, count=1, precision="int8"),),
        "lineage": Lineage(source="m", source_format="keras", source_sha256="0" * 64, steps=()),
        "needs": {"TFLite runtime": "2.3.0"},
        "activation_bytes": 1000,
    }
    return Artifact(**{**usual, **facts})


def load(settings=None, **facts):
    made = artifact(**facts)
    return Load(name="small", artifact=made, sent_bytes=made.total_bytes, settings=settings)


def settings(**facts):
    return Settings(**{"device": "local", "engine": "litert", **facts})


def found(load_, profile, what):
    return [finding for finding in check_fit(load_, profile).findings if finding.what == what]


def test_a_small_artifact_fits_a_raspberry_pi():
    fit = check_fit(load(), PI4, device="kitchen")

    assert fit.fits
    assert (fit.device, fit.profile) == ("kitchen", "raspberry-pi-4")
    assert {finding.what for finding in fit.findings} == {"engine", "dtypes", "disk", "RAM"}
    assert fit.to_json()["fits"] is True


def test_an_operator_that_is_too_new_does_not_fit():
    new = (OperatorUse(name="FULLY_CONNECTED", version=12, count=1, precision="dynamic-int8"),)
    fit = check_fit(load(operators=new), load_profile("armv7"))

    assert not fit.fits
    assert "FULLY_CONNECTED version 12" in fit.findings[0].said


def test_a_format_that_the_device_has_no_engine_for_does_not_fit():
    assert not check_fit(load(format="onnx"), load_profile("armv7")).fits


def test_one_able_engine_is_enough_and_the_bundles_own_must_be_there():
    two = replace(PI4, engines=(*load_profile("armv7").engines, *PI4.engines))
    new = (OperatorUse(name="FULLY_CONNECTED", version=12, count=1, precision="float32"),)

    assert [f.fits for f in found(load(operators=new), two, "engine")] == [None, True]
    assert check_fit(load(operators=new), two).fits
    assert not check_fit(load(settings(engine="tflite-runtime"), operators=new), two).fits
    (finding,) = found(load(settings(engine="tflite-runtime")), PI4, "engine")
    assert (finding.fits, finding.said) == (
        False, "the bundle is made for tflite-runtime, and raspberry-pi-4 has litert, onnxruntime",
    )  # fmt: skip


def test_on_a_phone_the_program_of_the_user_is_named():
    assert "by the benchmark_model that you supply" in found(load(), load_profile("pixel4"), "engine")[0].said


@pytest.mark.parametrize(
    ("accelerator", "fits", "said"),
    [
        ("edgetpu", False, "asks for edgetpu"),
        ("edgetpu,cpu", None, "edgetpu is not there, and cpu takes over"),
    ],
)
def test_an_accelerator_that_is_not_there(accelerator, fits, said):
    (finding,) = found(load(settings(accelerator=accelerator)), PI4, "accelerator")

    assert finding.fits is fits
    assert said in finding.said


def test_what_an_accelerator_needs_is_said():
    wanted = load(settings(accelerator="edgetpu,cpu", engine="tflite-runtime"))

    assert "edgetpu_compiler" in found(wanted, CORAL, "accelerator")[0].said
    assert check_fit(wanted, CORAL).fits


@pytest.mark.parametrize(
    ("precision", "accelerator", "fits"),
    [
        ("int8", "edgetpu", True), ("float32", "edgetpu", False), ("float32", "edgetpu,cpu", True),
        ("float32", "cpu", True), ("-", "edgetpu", True), ("integer", "edgetpu", True), ("int16x8", "edgetpu", False),
    ],
)  # fmt: skip
def test_an_accelerator_computes_in_its_dtypes_alone(precision, accelerator, fits):
    use = (OperatorUse(name="CONV_2D", version=3, count=1, precision=precision),)
    (finding,) = found(load(settings(accelerator=accelerator), operators=use), CORAL, "dtypes")

    assert finding.fits is fits


def test_an_accelerator_that_says_no_dtypes_takes_all():
    board = replace(PI4, accelerators=(Accelerator(name="npu"),))

    assert found(load(settings(accelerator="npu")), board, "dtypes")[0].fits is True


@pytest.mark.parametrize(("flash_bytes", "fits"), [(29, False), (30, True), (None, None)])
def test_what_is_sent_and_what_it_becomes_must_lie_on_the_disk_together(flash_bytes, fits):
    (finding,) = found(load(), replace(PI4, flash_bytes=flash_bytes), "disk")

    assert finding.fits is fits
    assert "30 bytes" in finding.said


def test_files_beside_the_artifact_count():
    beside = (DataFile(name="w.data", sha256="0" * 64, size_bytes=70),)

    assert "170 bytes" in found(load(data=beside), PI4, "disk")[0].said.replace(",", "")


def test_an_estimate_refuses_nothing_and_the_files_size_does():
    (finding,) = found(load(activation_bytes=2 * PI4.ram_bytes), PI4, "RAM")
    assert (finding.fits, finding.estimated) == (None, True)
    assert "(estimated)" in finding.said
    assert "too little by this estimate" in finding.said
    assert check_fit(load(activation_bytes=2 * PI4.ram_bytes), PI4).fits

    assert not check_fit(load(size_bytes=PI4.ram_bytes + 1), PI4).fits


def test_every_instance_has_its_own_activations():
    assert "about 3,015 bytes" in found(load(settings(instances=3)), PI4, "RAM")[0].said


def test_an_older_manifest_says_nothing_of_activations():
    (finding,) = found(load(activation_bytes=None), PI4, "RAM")

    assert finding.fits is None
    assert "does not say what activations take" in finding.said


def test_what_was_made_for_another_profile_is_told():
    assert found(load(settings(device="raspberry-pi-4")), PI4, "made for") == []
    (finding,) = found(load(settings(device="x86-64-vnni")), load_profile("avx2"), "made for")
    assert finding.fits is None
    assert "can saturate" in finding.said
    assert "can saturate" not in found(load(settings(device="x86-64-vnni")), PI4, "made for")[0].said


def written_artifact(folder):
    path = folder / "small.tflite"
    path.write_bytes(CONTENT)
    manifest_path(path).write_text(manifest_text(artifact(path=path)))
    return path


def written_bundle(folder):
    path = folder / "small.tin"
    made = Manifest(name="small", version=1, artifact=artifact(), parts=(), settings=settings(instances=2))
    write_bundle(path, made, {"artifact/small.tflite": CONTENT})
    return path


def test_a_bundle_is_read_whole(tmp_path):
    path = written_bundle(tmp_path)

    read = read_load(path)

    assert (read.artifact.activation_bytes, read.settings.instances) == (1000, 2)
    assert read.sent_bytes == path.stat().st_size
    assert check_fit(read, PI4).fits

    path.write_bytes(path.read_bytes().replace(CONTENT, CONTENT[::-1]))
    with pytest.raises(VerificationError):
        read_load(path)


def test_an_artifact_is_read_by_its_manifest(tmp_path):
    path = written_artifact(tmp_path)

    assert read_load(path) == Load(name="small.tflite", artifact=read_artifact(path), sent_bytes=15)
    assert read_artifact(path).activation_bytes == 1000

    path.write_bytes(CONTENT + b"!")
    with pytest.raises(VerificationError):
        read_load(path)


def test_an_artifact_without_a_manifest_is_told_how_to_get_one(tmp_path):
    path = tmp_path / "bare.tflite"
    path.write_bytes(CONTENT)

    with pytest.raises(DataError, match="no manifest"):
        read_load(path)
