"""Profiles and the CPUs in them: what the built-in ones say, and what is said to a file that is wrong."""

from pathlib import Path

import pytest
import tomllib

from tinsmith.runtime import profile as profiles
from tinsmith.runtime.cpu import FEATURES, Cpu, read_cpu
from tinsmith.runtime.engine_tables import order, table_of
from tinsmith.runtime.errors import HostError, UsageError
from tinsmith.runtime.profile import cpu_of, engines_of, list_profiles, load_profile

GOOD = """
title = "A board"
kind = "board"
threads = 2
ram_bytes = 1024
accelerators = ["cpu"]

[cpu]
arch = "aarch64"
cores = "2x Cortex-A53"
features = ["asimd"]
max_mhz = 1000

[[engines]]
name = "litert"
oldest = "2.0.3"
newest = "2.3.0"

[sources.cpu]
trust = "published"
where = "a data sheet"
date = 2026-11-24

[sources.ram_bytes]
trust = "measured"
where = "free -b"
date = "2026-11-24"

[sources.engines]
trust = "estimated"
where = "a guess"
date = 2026-11-24
"""


def written(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", list_profiles())
def test_every_built_in_profile_is_whole(name):
    profile = load_profile(name)

    assert profile.name == name
    assert profile.threads >= 1
    assert all(table_of(engine.name) for engine in profile.engines)
    assert all(order(engine.oldest) <= order(engine.newest) for engine in profile.engines)
    if profile.kind != "host":
        assert cpu_of(profile).features <= set(FEATURES[cpu_of(profile).arch])
        assert {"cpu", "engines"} <= profile.sources.keys()


def test_the_profiles_that_were_promised_are_there():
    assert {
        "arm-server", "beaglebone-black", "coral-dev-board", "generic-armv7", "jetson-orin-nano", "local",
        "raspberry-pi-3b-plus", "raspberry-pi-4", "raspberry-pi-5", "raspberry-pi-zero-2w", "x86-64-avx2",
        "x86-64-vnni",
    } <= set(list_profiles())  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x86-64-vnni", "x86-64, AVX-512 with VNNI"),
        ("x86-64-avx2", "x86-64, AVX2 without VNNI"),
        ("raspberry-pi-4", "aarch64, no dot product"),
        ("raspberry-pi-5", "aarch64, dot product"),
        ("arm-server", "aarch64, dot product, i8mm, SVE"),
        ("generic-armv7", "armv7l, no dot product"),
    ],
)
def test_a_cpu_says_what_matters_for_integers(name, said):
    assert cpu_of(load_profile(name)).said == said


def test_only_x86_without_vnni_saturates():
    saturating = [name for name in list_profiles() if name != "local" and cpu_of(load_profile(name)).saturates]

    assert saturating == ["x86-64-avx2"]


def test_a_profile_of_the_user_is_read_by_its_path(tmp_path):
    profile = load_profile(written(tmp_path, GOOD))

    assert profile.name == "mine"
    assert profile.ram_bytes == 1024
    assert profile.sources["ram_bytes"].date == "2026-11-24"
    assert profile.sources["engines"].trust == "estimated"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("threads = 2", "", "lacks threads"),
        ("threads = 2", "threads = 0", "threads = 0"),
        ("threads = 2", "threads = true", "threads = True"),
        ("threads = 2", "threats = 2\nthreads = 2", "unknown key: threats"),
        ('kind = "board"', 'kind = "boat"', "one of server, board, phone, host"),
        ('title = "A board"', 'title = ""', "title = ''"),
        ('["asimd"]', '["asmid"]', "asmid"),
        ('["asimd"]', '"asimd"', "a list of texts"),
        ('arch = "aarch64"', 'arch = "arm64"', "cpu.arch = 'arm64'"),
        ('name = "litert"', 'name = "lightrt"', "engines[0].name = 'lightrt'"),
        ('newest = "2.3.0"', "newest = 2.3", "a version such as"),
        ('newest = "2.3.0"', "", "lacks engines[0].newest"),
        ("[cpu]", "[cpus]", "lacks cpu"),
        ("[sources.cpu]", "[sources.gpu]", "does not say where cpu comes from"),
        ("ram_bytes = 1024", "", "names a source for ram_bytes"),
        ('date = "2026-11-24"', 'date = "yesterday"', "sources.ram_bytes.date = 'yesterday'"),
        ('trust = "measured"', 'trust = "felt"', "one of measured, published, estimated"),
    ],
)
def test_a_wrong_profile_is_told_the_key_and_the_file(tmp_path, old, new, said):
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))

    with pytest.raises(UsageError) as caught:
        load_profile(path)

    assert said in caught.value.message
    assert path in caught.value.message
    assert caught.value.hint


def test_a_profile_that_is_no_toml_and_one_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot read the profile"):
        load_profile(written(tmp_path, "title = "))
    with pytest.raises(UsageError, match="there is no profile 'pi4'") as caught:
        load_profile("pi4")

    assert "raspberry-pi-4" in caught.value.hint


def cpuinfo(tmp_path, text):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    return path


def test_the_cpu_of_an_x86_is_read(tmp_path):
    path = cpuinfo(tmp_path, "processor\t: 0\nmodel name\t: A chip\nflags\t\t: fpu sse4_1 avx2 avx512_vnni ht\n\n")

    cpu = read_cpu(path, machine="x86_64")

    assert cpu == Cpu(arch="x86_64", features=frozenset({"sse4_1", "avx2", "avx512_vnni"}), model="A chip")
    assert cpu.has_vnni
    assert not cpu.saturates


def test_the_cpu_of_an_arm_is_read(tmp_path):
    path = cpuinfo(tmp_path, "processor\t: 0\nFeatures\t: fp asimd asimddp\nModel : Raspberry Pi 5\n")

    assert read_cpu(path, machine="arm64") == Cpu(
        arch="aarch64", features=frozenset({"asimd", "asimddp"}), model="Raspberry Pi 5"
    )


def test_a_machine_that_does_not_say_its_features_has_no_cpu(tmp_path):
    assert read_cpu(tmp_path / "missing") is None
    assert read_cpu(cpuinfo(tmp_path, "processor : 0\n")) is None


def test_the_host_that_does_not_say_its_features_is_told_to_name_a_profile(monkeypatch):
    monkeypatch.setattr(profiles, "read_cpu", lambda: None)

    with pytest.raises(HostError) as caught:
        cpu_of(load_profile("local"))

    assert "x86-64-avx2" in caught.value.hint


def test_the_engines_of_the_host_are_the_installed_ones():
    for engine in engines_of(load_profile("local")):
        assert engine.oldest == engine.newest != ""


def test_profiles_are_data_that_stand_in_their_folder():
    for path in (Path(profiles.__file__).parent / "profiles").glob("*.toml"):
        assert tomllib.loads(path.read_text())
