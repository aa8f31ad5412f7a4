"""What every transport must do, as tests that third parties run on theirs.

::

    from tinsmith.devices.transports.contract import TransportContract

    class TestSerial(TransportContract):
        @pytest.fixture
        def transport(self):
            with contextlib.closing(SerialTransport("serial:/dev/ttyUSB0")) as transport:
                yield transport

        @pytest.fixture
        def folder(self):
            return PurePosixPath("/tmp/empty")    # on the device, there, and empty

The device needs ``cat``, ``printf``, ``sleep`` and ``sh``. Nothing here imports pytest: it is a test's own business.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import DeviceError, DeviceTimeoutError, OutputError, TinsmithError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path, PurePosixPath

    from tinsmith.devices.transports.protocol import Ran, Transport

__all__ = ["TransportContract"]

_LIMIT_S = 30.0
_AWKWARD = ("", " ", "a b", "'", '"', "'\"'", "$HOME", "`id`", "a;b", "a\nb", "*", "\\", "\\n", "-n", "é", "!", "#x",
            "~", "\t", "%s", "{a,b}")  # fmt: skip
_NAMES = ("plain", "with space", "it's", 'double"', "$HOME", "-dash", "é", "a;b", "*", "back\\slash")


@contextlib.contextmanager
def _raises(family: type[TinsmithError], transport: Transport | None = None) -> Iterator[None]:
    """Such an error comes, with a hint, and it names the device."""
    caught = None
    try:
        yield
    except family as error:
        caught = error
    assert caught is not None, f"there was no {family.__name__}"
    assert caught.hint, "the error gives no hint"
    assert transport is None or transport.address in caught.message, "the error does not name the device"


def _pattern(count: int) -> bytes:
    """Bytes that repeat at no power of two, so that a block in a wrong place shows."""
    return (bytes(range(251)) * (count // 251 + 1))[:count]


class TransportContract:
    """Inherit it, and give the fixtures ``transport`` and ``folder``."""

    def test_arguments_arrive_as_they_are(self, transport: Transport) -> None:
        """Whatever shell lies between."""
        ran = _run(transport, ["printf", "%s\\0", *_AWKWARD])

        assert ran.stdout.decode().split("\0")[:-1] == list(_AWKWARD)

    def test_output_and_errors_are_kept_apart(self, transport: Transport, folder: PurePosixPath) -> None:
        """And an exit code that is not 0 is no error of the transport."""
        ran = _run(transport, ["cat", str(folder / "missing")])

        assert ran.code == 1
        assert ran.stdout == b""
        assert b"missing" in ran.stderr

    def test_the_exit_code_is_that_of_the_program(self, transport: Transport) -> None:
        """All of them that a program can choose."""
        for code in (0, 1, 7, 255):
            assert _run(transport, ["sh", "-c", f"exit {code}"]).code == code

    def test_a_signal_is_128_and_its_number(self, transport: Transport) -> None:
        """As a shell says it."""
        assert _run(transport, ["sh", "-c", "kill -9 $$"]).code == 137
        assert _run(transport, ["sh", "-c", "kill -15 $$"]).code == 143

    def test_a_program_that_is_not_there_is_127(self, transport: Transport) -> None:
        """As a shell says it, so that one transport reads like another."""
        assert _run(transport, ["tinsmith-no-such-program"]).code == 127

    def test_input_and_output_are_bytes(self, transport: Transport) -> None:
        """Any of them: no line ends are turned, no byte ends the input."""
        for sent in (b"", bytes(range(256)), b"\r\n\x04\x03\n", _pattern(300_000)):
            assert _run(transport, ["cat"], stdin=sent).stdout == sent

    def test_input_that_nobody_reads_is_no_error(self, transport: Transport) -> None:
        """More of it than any buffer takes."""
        assert _run(transport, ["sh", "-c", "exit 3"], stdin=bytes(3_000_000)).code == 3

    def test_a_program_that_does_not_end_is_given_up(self, transport: Transport) -> None:
        """And the next one runs."""
        _run(transport, ["sh", "-c", "exit 0"])
        with _raises(DeviceTimeoutError, transport):
            transport.run(["sleep", "600"], time_limit_s=0.1)

        assert _run(transport, ["sh", "-c", "exit 5"]).code == 5

    def test_files_go_there_and_back(self, transport: Transport, folder: PurePosixPath, tmp_path: Path) -> None:
        """Empty ones and those of several blocks; a shorter one replaces a longer one."""
        for size in (3_000_000, 70_001, 1, 0):
            (tmp_path / "here").write_bytes(_pattern(size))
            transport.put(tmp_path / "here", folder / "there", time_limit_s=_LIMIT_S)
            transport.get(folder / "there", tmp_path / "back", time_limit_s=_LIMIT_S)

            assert (tmp_path / "back").read_bytes() == _pattern(size)

    def test_programs_see_the_files(self, transport: Transport, folder: PurePosixPath, tmp_path: Path) -> None:
        """Under the same names, whatever they are."""
        for name in _NAMES:
            (tmp_path / "here").write_bytes(name.encode())
            transport.put(tmp_path / "here", folder / name, time_limit_s=_LIMIT_S)

            assert _run(transport, ["cat", str(folder / name)]).stdout == name.encode()

    def test_a_file_goes_on_at_an_offset(self, transport: Transport, folder: PurePosixPath, tmp_path: Path) -> None:
        """What was there before it stays, and what lies behind it goes."""
        whole = _pattern(200_000)
        (tmp_path / "whole").write_bytes(whole)
        for held in (whole[:77_777], whole, whole[:77_777] + b"\0" * 200_000):
            (tmp_path / "held").write_bytes(held)
            transport.put(tmp_path / "held", folder / "there", time_limit_s=_LIMIT_S)
            transport.put(tmp_path / "whole", folder / "there", offset=77_777, time_limit_s=_LIMIT_S)
            transport.get(folder / "there", tmp_path / "back", time_limit_s=_LIMIT_S)

            assert (tmp_path / "back").read_bytes() == whole

    def test_an_offset_at_the_end_only_cuts(self, transport: Transport, folder: PurePosixPath, tmp_path: Path) -> None:
        """Nothing is left to send."""
        (tmp_path / "long").write_bytes(_pattern(900))
        (tmp_path / "short").write_bytes(_pattern(500))
        transport.put(tmp_path / "long", folder / "there", time_limit_s=_LIMIT_S)
        transport.put(tmp_path / "short", folder / "there", offset=500, time_limit_s=_LIMIT_S)

        assert _run(transport, ["cat", str(folder / "there")]).stdout == _pattern(500)

    def test_an_offset_behind_the_end_is_refused(
        self, transport: Transport, folder: PurePosixPath, tmp_path: Path
    ) -> None:
        """A hole would pass for a file."""
        (tmp_path / "here").write_bytes(_pattern(900))
        with _raises(DeviceError, transport):
            transport.put(tmp_path / "here", folder / "absent", offset=100, time_limit_s=_LIMIT_S)
        (tmp_path / "short").write_bytes(_pattern(99))
        transport.put(tmp_path / "short", folder / "there", time_limit_s=_LIMIT_S)
        with _raises(DeviceError, transport):
            transport.put(tmp_path / "here", folder / "there", offset=100, time_limit_s=_LIMIT_S)

        assert _run(transport, ["cat", str(folder / "there")]).stdout == _pattern(99)

    def test_progress_adds_up_to_what_was_sent(
        self, transport: Transport, folder: PurePosixPath, tmp_path: Path
    ) -> None:
        """Not to the size of the file."""
        told: list[int] = []
        (tmp_path / "here").write_bytes(_pattern(500_000))
        transport.put(tmp_path / "here", folder / "there", time_limit_s=_LIMIT_S, sent=told.append)
        assert sum(told) == 500_000
        told.clear()
        transport.put(tmp_path / "here", folder / "there", offset=499_000, time_limit_s=_LIMIT_S, sent=told.append)

        assert sum(told) == 1000
        assert min(told) > 0

    def test_no_folder_is_made_for_a_file(self, transport: Transport, folder: PurePosixPath, tmp_path: Path) -> None:
        """A typo in a path must not pass for a success."""
        (tmp_path / "here").write_bytes(b"x")
        with _raises(DeviceError, transport):
            transport.put(tmp_path / "here", folder / "absent" / "there", time_limit_s=_LIMIT_S)

    def test_a_file_that_is_not_there_leaves_nothing_here(
        self, transport: Transport, folder: PurePosixPath, tmp_path: Path
    ) -> None:
        """And what was here before stays."""
        (tmp_path / "back").write_bytes(b"before")
        for name in ("back", "none"):
            with _raises(DeviceError, transport):
                transport.get(folder / "absent", tmp_path / name, time_limit_s=_LIMIT_S)

        assert (tmp_path / "back").read_bytes() == b"before"
        assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["back"]

    def test_a_place_that_cannot_be_written_here_is_an_output_error(
        self, transport: Transport, folder: PurePosixPath, tmp_path: Path
    ) -> None:
        """The device is not to blame."""
        (tmp_path / "here").write_bytes(b"x")
        transport.put(tmp_path / "here", folder / "there", time_limit_s=_LIMIT_S)
        with _raises(OutputError):
            transport.get(folder / "there", tmp_path / "absent" / "back", time_limit_s=_LIMIT_S)

    def test_closing_twice_is_safe(self, transport: Transport) -> None:
        """Before and after it was used."""
        _run(transport, ["sh", "-c", "exit 0"])
        transport.close()
        transport.close()


def _run(transport: Transport, arguments: Sequence[str], stdin: bytes = b"") -> Ran:
    return transport.run(arguments, stdin=stdin, time_limit_s=_LIMIT_S)
