"""Which wheels a board's Python takes, judged by the library that pip uses; which one is chosen; and our own."""

import itertools
import subprocess
import sys
import zipfile
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from tinsmith.devices.setup import pip
from tinsmith.devices.setup.choosing import choose, engine_for
from tinsmith.devices.setup.on_board import unpack
from tinsmith.devices.setup.own_wheel import write_own_wheel
from tinsmith.devices.setup.pip import PipWheels
from tinsmith.devices.setup.tags import Interpreter, parse_wheel_name
from tinsmith.devices.setup.there import There
from tinsmith.devices.setup.wheels import FolderOfWheels, Requirement, wheel_at
from tinsmith.devices.transports.steps import Step
from tinsmith.runtime import _version
from tinsmith.runtime.errors import DeviceError, HostError, UsageError
from tinsmith.runtime.profile import load_profile

PI = Interpreter(version=(3, 11), machine="aarch64", glibc=(2, 36))
THERE = There(
    base="/root/tinsmith", python="/usr/bin/python3", prefix="/usr", interpreter=PI, packages={}, free_bytes=10**9,
    wheels=frozenset(), parts={}, settings="", keys=(), decryption_key=False, systemd=False, user="root",
    home="/root", lingers=False,
)  # fmt: skip
STEP = Step(address="ssh://pi", doing="setting up: choosing wheels")

interpreters = st.builds(
    Interpreter,
    version=st.tuples(st.just(3), st.integers(10, 13)),
    machine=st.sampled_from(["aarch64", "x86_64", "armv7l"]),
    glibc=st.none() | st.tuples(st.just(2), st.integers(17, 40)),
)
pythons = st.sampled_from(["cp37", "cp310", "cp311", "cp312", "cp313", "py3", "py2.py3", "py311", "py313", "pp310"])
abis = st.sampled_from(["none", "abi3", "cp311", "cp312", "cp310", "pypy310_pp73"])
bases = st.sampled_from(
    ["manylinux1", "manylinux2010", "manylinux2014", "manylinux_2_5", "manylinux_2_17", "manylinux_2_28",
     "manylinux_2_39", "linux", "musllinux_1_2"]
)  # fmt: skip
platforms = st.just("any") | st.lists(
    st.builds(lambda tag, machine: f"{tag}_{machine}", bases, st.sampled_from(["aarch64", "x86_64", "armv7l"])),
    min_size=1, max_size=2, unique=True,
).map(".".join)  # fmt: skip
releases = st.lists(st.integers(0, 12), min_size=1, max_size=3).map(lambda numbers: ".".join(map(str, numbers)))


@given(interpreters, pythons, abis, platforms)
def test_an_interpreter_takes_what_pip_would_install_there(interpreter, python, abi, platform):
    name = f"some_package-1.0-{python}-{abi}-{platform}.whl"
    tagged = list(interpreter.platforms)
    judge = {
        *cpython_tags(interpreter.version, abis=[interpreter.tag], platforms=tagged),
        *compatible_tags(interpreter.version, interpreter=interpreter.tag, platforms=tagged),
    }

    assert interpreter.takes(parse_wheel_name(name)) == (not parse_wheel_filename(name)[3].isdisjoint(judge))


@pytest.mark.parametrize(
    ("interpreter", "first", "last", "count"),
    [
        (PI, "manylinux_2_36_aarch64", "linux_aarch64", 22),
        (replace(PI, machine="x86_64", glibc=(2, 28)), "manylinux_2_28_x86_64", "linux_x86_64", 28),
        (replace(PI, glibc=None), "linux_aarch64", "linux_aarch64", 1),
    ],
)
def test_every_platform_tag_is_listed(interpreter, first, last, count):
    tags = interpreter.platforms
    assert (tags[0], tags[-1], len(tags), len(set(tags))) == (first, last, count, count)


@given(st.sampled_from(["exactly", "least", "most", "below"]), releases, releases)
def test_bounds_mean_what_pip_takes_them_for(bound, limit, version):
    requirement = Requirement(package="some-package", **{bound: limit})
    wheel = parse_wheel_name(f"Some_Package-{version}-py3-none-any.whl")
    said = str(requirement).removeprefix("some-package")
    if bound == "exactly":  # the very version, as it is written: nothing else is known to give the same bits
        assert requirement.takes(wheel) == (version == limit)
    else:
        assert requirement.takes(wheel) == SpecifierSet(said).contains(padded(version))
    assert canonicalize_name("Some_Package") == wheel.package


def padded(version):
    """Where a bound has more numbers than the version, zeros stand for what is missing."""
    return ".".join([*version.split("."), "0", "0"][:3])


@pytest.mark.parametrize("name", ["x.whl", "x-1.0.tar.gz", "x-1.0-py3-none.whl", "a-b-c-d-e-f-g.whl", ""])
def test_what_is_no_wheel_is_none(name):
    assert parse_wheel_name(name) is None


@pytest.fixture
def folder(tmp_path):
    """A folder of empty wheels by their names: name -> folder."""

    def put(*names):
        for name in names:
            (tmp_path / name).write_bytes(name.encode())
        return tmp_path

    return put


def test_the_newest_release_that_the_board_takes_is_found(folder):
    there = folder(
        "numpy-1.26.4-cp311-cp311-manylinux_2_17_aarch64.whl",
        "numpy-2.9.0-cp311-cp311-manylinux_2_28_aarch64.whl",
        "numpy-2.10.0-cp311-cp311-manylinux_2_17_aarch64.whl",
        "numpy-2.10.0-cp311-cp311-manylinux_2_28_aarch64.whl",
        "numpy-2.11.0rc1-cp311-cp311-manylinux_2_28_aarch64.whl",
        "numpy-3.0.0-cp312-cp312-manylinux_2_28_aarch64.whl",
        "numpy-3.1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    )
    found = FolderOfWheels(there)

    newest = found.find(Requirement(package="numpy"), PI)
    assert newest.path.name == "numpy-2.10.0-cp311-cp311-manylinux_2_28_aarch64.whl"
    assert newest == wheel_at(newest.path)
    assert found.find(Requirement(package="numpy", below="2"), PI).version == "1.26.4"
    assert found.find(Requirement(package="numpy"), replace(PI, glibc=(2, 20))).version == "2.10.0"
    assert found.find(Requirement(package="numpy", most="1.26.3"), PI) is None


def test_a_folder_that_is_none_and_a_file_that_is_no_wheel_are_the_hosts_fault(tmp_path):
    with pytest.raises(HostError, match="no folder of wheels"):
        FolderOfWheels(tmp_path / "none")
    (tmp_path / "x.whl").write_bytes(b"")
    with pytest.raises(HostError, match="no wheel's name"):
        wheel_at(tmp_path / "x.whl")


LIBRARIES = ("numpy-2.0.0-py3-none-any.whl", "cryptography-44.0.0-py3-none-any.whl", "cffi-2.0.0-py3-none-any.whl")


def litert(*versions):
    return [f"ai_edge_litert-{version}-cp311-cp311-manylinux_2_27_aarch64.whl" for version in versions]


def chosen(folder, there=THERE, *, profile="pi4", engine=None):
    facts = load_profile(profile)
    choice = engine_for(facts, there.interpreter.machine, engine)
    stated = next((stated for stated in facts.engines if stated.name == choice.name), None)
    return choose(there, choice, stated, FolderOfWheels(folder), STEP)


def test_the_boards_engine_is_that_of_this_machine_where_there_is_a_wheel(folder, monkeypatch):
    monkeypatch.setattr("tinsmith.devices.setup.choosing.version", lambda _: "2.1.2")
    found = chosen(folder(*LIBRARIES, *litert("2.1.2", "2.3.0")))

    assert {wheel.package: wheel.version for wheel in found.wheels} == {
        "numpy": "2.0.0", "cryptography": "44.0.0", "cffi": "2.0.0", "ai-edge-litert": "2.1.2",
    }  # fmt: skip
    assert "ai_edge_litert.interpreter" in found.modules
    assert not found.shared


def test_else_it_is_the_newest_that_the_profile_allows(folder, monkeypatch):
    monkeypatch.setattr("tinsmith.devices.setup.choosing.version", lambda _: "2.2.2")
    engine = next(engine for engine in load_profile("pi4").engines if engine.name == "litert")
    beyond = ".".join([str(int(engine.newest.split(".")[0]) + 1), "0.0"])

    found = chosen(folder(*LIBRARIES, *litert(engine.oldest, engine.newest, beyond)))
    assert found.wheels[0].version == engine.newest


def test_python_3_10_gets_what_its_cryptography_needs(folder):
    board = replace(THERE, interpreter=replace(PI, version=(3, 10)))
    there = folder(*LIBRARIES, "typing_extensions-4.15.0-py3-none-any.whl",
                   "ai_edge_litert-2.3.0-cp310-cp310-manylinux_2_27_aarch64.whl")  # fmt: skip

    assert "typing-extensions" in {wheel.package for wheel in chosen(there, board).wheels}


def test_tflite_runtime_gets_an_older_numpy(folder):
    there = folder(*LIBRARIES, "numpy-1.26.4-py3-none-any.whl",
                   "tflite_runtime-2.14.0-cp311-cp311-manylinux_2_34_aarch64.whl")  # fmt: skip

    found = chosen(there, engine="tflite-runtime")
    assert {w.package: w.version for w in found.wheels}["numpy"] == "1.26.4"


ARMV7 = replace(THERE, interpreter=replace(PI, machine="armv7l"),
                packages={"numpy": "1.24.2", "cryptography": "38.0.4"})  # fmt: skip
OLD = "tflite_runtime-2.14.0-cp311-cp311-manylinux_2_34_armv7l.whl"


@pytest.mark.parametrize("profile", ["armv7", "pi4"])
def test_a_32_bit_system_brings_its_own_numpy_and_gets_the_engine_that_has_a_wheel(folder, profile):
    found = chosen(folder(OLD), ARMV7, profile=profile)

    assert [wheel.package for wheel in found.wheels] == ["tflite-runtime"]
    assert (found.shared, found.engine.name) == (True, "tflite-runtime")


@pytest.mark.parametrize("missing", [{"numpy"}, {"cryptography"}, {"numpy", "cryptography"}])
def test_a_32_bit_system_without_them_is_told_what_to_install(folder, missing):
    packages = {name: version for name, version in ARMV7.packages.items() if name not in missing}
    with pytest.raises(DeviceError, match="ssh://pi: setting up: choosing wheels: it has no") as caught:
        chosen(folder(OLD), replace(ARMV7, packages=packages))

    assert all((f"python3-{name}" in caught.value.hint) == (name in missing) for name in ARMV7.packages)
    assert "sudo apt install" in caught.value.hint


@pytest.mark.parametrize(
    ("there", "engine", "hint"),
    [
        (ARMV7, "litert", "--engine tflite-runtime"),
        (replace(ARMV7, interpreter=replace(ARMV7.interpreter, version=(3, 13))), None, "Python 3.9 to 3.11"),
        (replace(THERE, interpreter=replace(PI, version=(3, 13))), "tflite-runtime", "--engine litert"),
        (replace(THERE, interpreter=replace(PI, glibc=None)), None, "--wheels"),
    ],
)
def test_an_engine_without_a_wheel_is_an_error_with_a_way_out(folder, there, engine, hint):
    with pytest.raises(HostError, match=r"setting up: choosing wheels: the folder .* has no wheel of") as caught:
        chosen(folder(*LIBRARIES, OLD, *litert("2.3.0")), there, engine=engine)

    assert str(there.interpreter) in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.exit_code == 3


def test_an_engine_that_there_is_not_is_a_mistake():
    with pytest.raises(UsageError, match="no engine 'tensorrt'"):
        engine_for(load_profile("pi4"), "aarch64", "tensorrt")


class TestPip:
    """With a pip that does what the test says."""

    @pytest.fixture
    def asked(self):
        return []

    @pytest.fixture
    def answers(self, monkeypatch, asked):
        """Lets pip end with a code and words, and lay down files: code, words, names."""

        def let(code=0, said="", *names):
            def run(arguments, **_):
                asked.append(arguments)
                folder = next(word for word in arguments if word.startswith("--dest=")).removeprefix("--dest=")
                for name in names:
                    with open(f"{folder}/{name}", "w"):  # noqa: PTH123
                        pass
                return subprocess.CompletedProcess(arguments, code, stdout="", stderr=said)

            monkeypatch.setattr(pip.subprocess, "run", run)

        return let

    def find(self, tmp_path, **bounds):
        return PipWheels(tmp_path / "cache").find(Requirement(package="cffi", **bounds), PI)

    def test_what_was_fetched_once_is_not_asked_for_again(self, tmp_path, answers, asked):
        answers(0, "", "cffi-2.0.0-cp311-cp311-manylinux_2_17_aarch64.whl")

        first, second = self.find(tmp_path), self.find(tmp_path, least="1.15")
        assert first == second
        assert first.path.parent == tmp_path / "cache" / "cp311-aarch64-glibc2.36"
        assert len(asked) == 1

    def test_pip_is_asked_for_the_boards_python_and_every_platform(self, tmp_path, answers, asked):
        answers(1, "ERROR: No matching distribution found for cffi")

        assert self.find(tmp_path, least="1.15", below="3") is None
        (arguments,) = asked
        assert arguments[:4] == [sys.executable, "-m", "pip", "download"]
        assert arguments[-1] == "cffi>=1.15,<3"
        assert {"--python-version=3.11", "--abi=cp311", "--no-deps", "--only-binary=:all:"} <= set(arguments)
        assert tuple(b for a, b in itertools.pairwise(arguments) if a == "--platform") == PI.platforms

    @pytest.mark.parametrize(
        ("said", "reason"),
        [
            ("WARNING: Retrying (Retry(total=0)) after connection broken\nERROR: No matching distribution found",
             "can't reach its index"),
            ("ERROR: Invalid requirement", "Invalid requirement"),
            ("", "exit code 1"),
        ],
    )  # fmt: skip
    def test_an_index_that_cannot_be_asked_is_not_one_without_the_wheel(self, tmp_path, answers, said, reason):
        answers(1, said)
        with pytest.raises(HostError, match=reason) as caught:
            self.find(tmp_path)

        assert "--wheels" in caught.value.hint
        assert not list((tmp_path / "cache").rglob("*.whl"))

    def test_a_python_without_pip_says_so(self, tmp_path, monkeypatch):
        monkeypatch.setattr(pip, "find_spec", lambda _: None)
        with pytest.raises(HostError, match="has no pip"):
            self.find(tmp_path)


class TestOwnWheel:
    def test_it_has_the_same_bytes_each_time_and_only_the_runtime(self, tmp_path):
        paths = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            paths.append(write_own_wheel(tmp_path / name))
        assert paths[0].read_bytes() == paths[1].read_bytes()

        names = zipfile.ZipFile(paths[0]).namelist()
        assert parse_wheel_filename(paths[0].name)[:2] == ("tinsmith", parse_version())
        assert {name.split("/")[0] for name in names} == {"tinsmith", f"tinsmith-{_version.__version__}.dist-info"}
        assert {name.split("/")[1] for name in names if name.startswith("tinsmith/")} == {"__init__.py", "runtime"}
        assert not [name for name in names if "__pycache__" in name]
        for needed in ("runtime/profiles/local.toml", "runtime/server/page.html", "runtime/agent/__main__.py"):
            assert f"tinsmith/{needed}" in names

    def test_unpacked_it_runs_on_a_python_that_has_nothing_else(self, tmp_path):
        wheel = wheel_at(write_own_wheel(tmp_path))
        (tmp_path / "wheels").mkdir()
        wheel.path.rename(tmp_path / "wheels" / f"{wheel.sha256}.part")
        unpack(base=str(tmp_path), sha256=wheel.sha256)

        code = (
            f"import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]; "
            f"sys.path.append({str(tmp_path / 'wheels' / wheel.sha256)!r}); sys.argv.append('base'); "
            "from tinsmith.runtime.agent.__main__ import main; sys.exit(main())"
        )
        asked = b'{"schema": 1, "request": "status"}'
        ran = subprocess.run([sys.executable, "-I", "-S", "-c", code], input=asked, capture_output=True, check=False)
        assert (ran.returncode, ran.stdout[:13]) == (0, b'{"schema": 1,'), ran.stderr.decode()


def parse_version():
    return parse_wheel_filename(f"x-{_version.__version__}-py3-none-any.whl")[1]
