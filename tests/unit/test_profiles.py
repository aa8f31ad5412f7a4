"""Profiles and the CPUs in them: what the built-in ones say, and what is said to a file that is wrong."""

from datetime import date
from pathlib import Path

import pytest
import tomllib

from tinsmith.runtime import profile as profiles
from tinsmith.runtime.cpu import FEATURES, Cpu, read_cpu
from tinsmith.runtime.engine_tables import order, table_of
from tinsmith.runtime.errors import HostError, UsageError
from tinsmith.runtime.profile import cpu_of, engines_of, find_profile, list_profiles, load_profile

FOLDER = Path(profiles.__file__).parent / "profiles"

GOOD = """
title = "A board"
kind = "board"
threads = 2
ram_bytes = 1024
aliases = ["ours"]
transports = ["ssh"]

[cpu]
arch = "aarch64"
cores = "2x Cortex-A53"
features = ["asimd"]
max_mhz = 1000

[[engines]]
name = "litert"
oldest = "2.0.3"
newest = "2.3.0"

[[accelerators]]
name = "edgetpu"
dtypes = ["int8"]
needs = "a compiler"

[[references]]
model = "MobileNet v2"
precision = "int8"
size = "224x224"
value_ms = 17
statistic = "not stated"
runtime = "XNNPACK"
trust = "published"
where = "a page"
date = 2026-11-23

[sources.accelerators]
trust = "published"
where = "a data sheet"
date = 2026-11-24

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


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_every_figure_of_a_built_in_profile_has_a_source_and_a_day(path):
    facts = tomllib.loads(path.read_text())
    stated = {key for key in ("cpu", "ram_bytes", "flash_bytes", "accelerators") if key in facts}
    stated |= {"engines"} if any("newest" in engine for engine in facts["engines"]) else set()

    assert facts.get("sources", {}).keys() == stated
    for source in [*facts.get("sources", {}).values(), *facts.get("references", [])]:
        assert source["where"]
        assert source["trust"] in ("measured", "published", "estimated")
        assert date(2026, 11, 1) <= source["date"] <= date.today()
    known = {
        "title",
        "kind",
        "soc",
        "threads",
        "aliases",
        "transports",
        "references",
        "sources",
        "engines",
        *stated,
        "emulated",
    }
    assert facts.keys() <= known  # a new figure needs a source, and a line above


def test_published_latencies_say_where_they_stand_and_are_only_published():
    published = [reference for name in list_profiles() for reference in load_profile(name).references]

    assert len(published) >= 40
    for reference in published:
        assert reference.source.trust == "published"
        assert reference.source.where.startswith("https://")
        assert 0 < reference.value_ms < 1000


@pytest.mark.parametrize(
    ("name", "model", "precision", "threads", "on", "value_ms"),
    [
        ("raspberry-pi-4", "MobileNet v2", "int8", None, "cpu", 17.0),
        ("raspberry-pi-5", "MobileNet v1", "float32", 4, "cpu", 9.0),
        ("coral-dev-board", "MobileNet v2", "int8", None, "edgetpu", 2.6),
        ("pixel-4", "MobileNet v1", "int8", None, "nnapi", 3.2),
        ("galaxy-s24", "MobileNet v2", "w8a8", None, "npu", 0.285),
    ],
)
def test_a_latency_is_the_one_that_was_published(name, model, precision, threads, on, value_ms):
    found = [
        r.value_ms
        for r in load_profile(name).references
        if (r.model, r.precision, r.threads, r.accelerator) == (model, precision, threads, on)
    ]

    assert value_ms in found


def test_no_name_of_a_profile_means_two():
    names = [name for profile in list_profiles() for name in (profile, *load_profile(profile).aliases)]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", list_profiles())
def test_phones_are_reached_by_adb_and_run_what_the_user_supplies(name):
    profile = load_profile(name)
    phone = profile.kind == "phone"

    assert profile.transports == (("adb",) if phone else ("local",) if name == "local" else ("ssh",))
    assert all(engine.through == ("benchmark_model" if phone else "") for engine in profile.engines)


def test_the_profiles_that_were_promised_are_there():
    assert {
        "android-arm64", "arm-server-n1", "galaxy-s24", "pixel-4", "pixel-8", "x86-64-amx",
        "arm-server", "beaglebone-black", "coral-dev-board", "generic-armv7", "jetson-orin-nano", "local",
        "raspberry-pi-3b-plus", "raspberry-pi-4", "raspberry-pi-5", "raspberry-pi-zero-2w", "x86-64-avx2",
        "x86-64-vnni",
    } <= set(list_profiles())  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x86-64-vnni", "x86-64, AVX-512 with VNNI"),
        ("x86-64-amx", "x86-64, AVX-512 with VNNI"),
        ("pixel-4", "aarch64, dot product"),
        ("pixel-8", "aarch64, dot product, i8mm, SVE"),
        ("galaxy-s24", "aarch64, dot product, i8mm"),
        ("android-arm64", "aarch64, no dot product"),
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
    assert (profile.aliases, profile.transports, profile.flash_bytes) == (("ours",), ("ssh",), None)
    assert profile.accelerator_names == ("edgetpu", "cpu")
    (reference,) = profile.references
    assert (reference.value_ms, reference.threads, reference.accelerator) == (17.0, None, "cpu")
    assert reference.source.date == "2026-11-23"


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
        ('transports = ["ssh"]', "", "lacks transports"),
        ("[sources.accelerators]", "[sources.accelerator]", "does not say where accelerators comes from"),
        ("ram_bytes = 1024", "ram_bytes = 1024\nflash_bytes = 1", "does not say where flash_bytes comes from"),
        ("value_ms = 17", "value_ms = 0", "references[0].value_ms = 0"),
        ("value_ms = 17", "value_ms = 17\nmean_ms = 1", "unknown key: references[0].mean_ms"),
        ('statistic = "not stated"', 'statistic = "p50"', "one of min, median, mean, not stated"),
        ('where = "a page"', "", "lacks references[0].where"),
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
    with pytest.raises(UsageError, match="there is no profile 'pi44'") as caught:
        load_profile("pi44")

    assert "raspberry-pi-4" in caught.value.hint


def test_an_alias_names_its_profile():
    assert load_profile("pi4") == load_profile("raspberry-pi-4")
    assert find_profile("bbb") == "beaglebone-black"
    assert find_profile("pi44") is None


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
    for path in FOLDER.glob("*.toml"):
        assert tomllib.loads(path.read_text())
