"""The parts of virtual boards that need none: mirrors, links, archives, processes."""

import gzip
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.devices.boards.cpio import Member, archive
from tinsmith.devices.boards.cpuinfo import describe_cpu
from tinsmith.devices.boards.mirror import debian_mirror, mirrors_in
from tinsmith.devices.boards.places import cache_folder, state_folder
from tinsmith.devices.boards.processes import Process, start
from tinsmith.devices.boards.trees import Tree
from tinsmith.runtime.cpu import parse_cpuinfo
from tinsmith.runtime.errors import HostError

ONE_LINE = "# deb http://no.example/debian bookworm main\ndeb [arch=amd64 signed-by=/x] {uri} bookworm main contrib\n"
STANZAS = """\
Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

# a remark
Types: deb deb-src
URIs: {uri} http://second.example/debian
Suites: bookworm bookworm-updates
Components: main
"""


class TestMirrors:
    @pytest.mark.parametrize("form", [ONE_LINE, STANZAS])
    @pytest.mark.parametrize("uri", ["http://mirror.example/debian", "https://x.example/a/debian/"])
    def test_the_first_of_debian_is_taken_in_either_form(self, form, uri):
        assert next(mirrors_in(form.format(uri=uri))) == uri.rstrip("/")

    @pytest.mark.parametrize(
        "uri", ["http://security.example/debian-security", "http://archive.example/ubuntu", "https://x.example/apt"]
    )
    def test_others_are_none(self, uri):
        assert list(mirrors_in(ONE_LINE.format(uri=uri))) == []

    def test_the_files_of_apt_are_read_and_the_variable_comes_first(self, tmp_path, monkeypatch):
        monkeypatch.delenv("TINSMITH_DEBIAN_MIRROR", raising=False)
        with pytest.raises(HostError) as caught:
            debian_mirror(tmp_path)
        assert "TINSMITH_DEBIAN_MIRROR" in caught.value.hint
        (tmp_path / "sources.list.d").mkdir()
        (tmp_path / "sources.list.d/debian.sources").write_text(STANZAS.format(uri="http://a.example/debian"))
        assert debian_mirror(tmp_path) == "http://a.example/debian"
        monkeypatch.setenv("TINSMITH_DEBIAN_MIRROR", "http://b.example/debian")

        assert debian_mirror(tmp_path) == "http://b.example/debian"


class TestPlaces:
    def test_only_absolute_folders_count(self, monkeypatch, tmp_path):
        for variable, place in (("XDG_STATE_HOME", state_folder), ("XDG_CACHE_HOME", cache_folder)):
            monkeypatch.setenv(variable, str(tmp_path))
            assert place() == tmp_path / "tinsmith/boards"
            monkeypatch.setenv(variable, "relative")
            assert place().is_relative_to(Path.home())


NAMES = st.sampled_from(["a", "b", "c"])
TARGETS = st.builds(
    lambda absolute, parts: ("/" if absolute else "") + "/".join(parts),
    st.booleans(),
    st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=4),
)


class TestLinks:
    @given(links=st.dictionaries(NAMES, TARGETS), path=st.lists(st.one_of(NAMES, st.just("..")), max_size=4))
    def test_none_leads_out_of_the_folder(self, tmp_path_factory, links, path):
        outside = tmp_path_factory.mktemp("outside")
        root = outside / "root"
        root.mkdir()
        for name, target in links.items():
            (root / name).symlink_to(target)
        try:
            found = Tree(own=root, system=outside).resolve(PurePosixPath("/", *path))
        except OSError:
            return

        assert ".." not in found.parts
        assert (root / str(found)[1:]).resolve().is_relative_to(root)

    def test_an_absolute_one_leads_where_it_does_on_the_board(self, tmp_path):
        (tmp_path / "data").mkdir()
        (tmp_path / "current").symlink_to("/data")
        (tmp_path / "data/x").symlink_to("../../../data/y")

        assert Tree(own=tmp_path, system=tmp_path).resolve(PurePosixPath("/current/x")) == PurePosixPath("/data/y")

    def test_what_is_shared_lies_with_the_system(self, tmp_path):
        tree = Tree(own=tmp_path / "own", system=tmp_path / "system")
        (tmp_path / "own").mkdir()
        (tmp_path / "own/shell").symlink_to("/usr/bin/sh")

        assert tree.place(tree.resolve(PurePosixPath("/shell"))) == tmp_path / "system/usr/bin/sh"
        assert tree.place(PurePosixPath("/data/usr")) == tmp_path / "own/data/usr"
        assert tree.place(PurePosixPath("/")) == tmp_path / "own"

    def test_a_circle_is_an_error(self, tmp_path):
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        with pytest.raises(OSError, match="symbolic links"):
            Tree(own=tmp_path, system=tmp_path).resolve(PurePosixPath("/a"))


def entries(data):
    """The archive, read after the kernel's description of it."""
    place, found = 0, {}
    while True:
        head = data[place : place + 110]
        assert head[:6] == b"070701"
        fields = [int(head[6 + 8 * n : 14 + 8 * n], 16) for n in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = data[place + 110 : place + 110 + length - 1].decode()
        begin = -(-(place + 110 + length) // 4) * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, data[begin : begin + size])
        place = -(-(begin + size) // 4) * 4


@given(contents=st.dictionaries(st.sampled_from(["a", "bin/x", "bin/yy", "c/d/e"]), st.binary(max_size=9)))
def test_an_archive_holds_files_behind_their_folders(contents):
    members = [Member(path=PurePosixPath(path), content=content, mode=0o600) for path, content in contents.items()]
    found = entries(gzip.decompress(archive(members, folders=["dev"])))

    assert {path: content for path, (mode, content) in found.items() if mode == 0o100600} == contents
    assert found["dev"][0] == 0o040755
    order = list(found)
    for path in contents:
        for parent in PurePosixPath(path).parents[:-1]:
            assert order.index(str(parent)) < order.index(path)


def test_the_cpu_of_a_board_is_an_arm(tmp_path):
    describe_cpu(tmp_path)
    cpuinfo = (tmp_path / "cpuinfo").read_text()
    cpu = parse_cpuinfo(cpuinfo, machine="aarch64")

    assert cpu.arch == "aarch64"
    assert "asimd" in cpu.features
    assert "asimddp" not in cpu.features
    assert cpuinfo.count("processor") == 4
    assert (tmp_path / "sys/devices/system/cpu/possible").read_text() == "0-3\n"


def test_without_asyncssh_the_kinds_are_known_and_a_board_says_what_it_needs(tmp_path):
    script = (
        "import sys; sys.modules['asyncssh'] = None; from pathlib import Path; "
        "from tinsmith.devices.boards.starting import KINDS; from tinsmith.devices.boards.keys import keys_in; "
        "from tinsmith.runtime.errors import MissingDependencyError\n"
        "try: keys_in(Path('.'))\nexcept MissingDependencyError as error: assert 'devices' in error.hint\n"
        "else: raise SystemExit(1)"
    )

    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)


class TestProcesses:
    def test_all_that_a_process_has_started_ends_with_it(self, tmp_path):
        script = "sleep 600 & sleep 600 & echo up > $0; wait"
        process = start(["/bin/sh", "-c", script, str(tmp_path / "up")], log=tmp_path / "log")
        while not (tmp_path / "up").exists() or len(process.descendants()) < 2:
            assert process.lives
        below = process.descendants()
        process.end_with_all()

        assert not process.lives
        assert not any(child.lives for child in below)

    def test_a_number_that_another_process_has_now_is_left_alone(self, tmp_path):
        child = start(["/bin/sleep", "600"], log=tmp_path / "log")
        Process(number=os.getpid(), began="another-boot 1").end_with_all()
        assert Process.numbered(os.getpid()).lives
        assert child.lives
        child.end()

        assert not child.lives

    def test_one_that_never_was_does_not_live(self):
        assert not Process.numbered(2**22 + 1).lives

    def test_it_outlives_the_one_that_started_it(self, tmp_path):
        script = (
            "import sys; from pathlib import Path; from tinsmith.devices.boards.processes import start; "
            "print(start(['/bin/sleep', '600'], log=Path(sys.argv[1])).number)"
        )
        ran = subprocess.run([sys.executable, "-c", script, tmp_path / "log"], capture_output=True, check=True)
        process = Process.numbered(int(ran.stdout))
        assert process.lives
        process.end()

        assert not process.lives
