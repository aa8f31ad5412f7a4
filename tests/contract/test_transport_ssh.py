"""The SSH transport against a real SSH server on the loopback: the contract, and what goes wrong on real links."""

import asyncio
import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import asyncssh
import pytest

from tinsmith.devices.transports.addresses import Host, SshAddress
from tinsmith.devices.transports.contract import TransportContract
from tinsmith.devices.transports.loop import LoopThread, shared_loop
from tinsmith.devices.transports.ssh import SshTransport
from tinsmith.devices.transports.ssh_connection import SshSettings
from tinsmith.runtime.errors import (
    AccessDeniedError,
    DeviceError,
    DeviceTimeoutError,
    LinkLostError,
    NoRoomError,
    UnreachableError,
    UsageError,
)

LIMIT_S = 30.0


class Board:
    """An asyncssh server whose programs are those of this machine, started by ``sh -c`` in a folder.

    Attributes:
        port: Where it listens on 127.0.0.1.
        known_hosts: A file that knows its host key.
        key: The file of the one private key that it lets in.
        logins: How many connections were let in.
    """

    def __init__(self, folder: Path, *, sftp: bool = True, host_key: str = "ssh-ed25519") -> None:
        self._loop = LoopThread()
        self._home = folder
        self.key = folder / "id"
        self.logins = 0
        self._groups = []
        user_key = asyncssh.generate_private_key("ssh-ed25519")
        user_key.write_private_key(self.key)
        self.host_key = asyncssh.generate_private_key(host_key)
        self._options = {
            "server_host_keys": [self.host_key],
            "authorized_client_keys": asyncssh.import_authorized_keys(user_key.export_public_key().decode()),
            "process_factory": self._run,
            "sftp_factory": asyncssh.SFTPServer if sftp else None,
            "encoding": None,
            "server_factory": self._greet,
        }
        self._server = self._loop.call(self._listen(), LIMIT_S)
        self.port = self._server.get_port()
        self.known_hosts = folder / "known_hosts"
        self.know(self.port)

    def know(self, *ports):
        public = self.host_key.export_public_key().decode()
        self.known_hosts.write_text("".join(f"[127.0.0.1]:{port} {public}\n" for port in ports))

    def close(self):
        self._loop.call(self._shut(), LIMIT_S)
        self._loop.stop()

    def _greet(self):
        self.logins += 1
        return Doorman()

    async def _listen(self):
        return await asyncssh.listen("127.0.0.1", 0, **self._options)

    async def _shut(self):
        self._server.close()
        await self._server.wait_closed()
        for group in list(self._groups):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=LIMIT_S / 2)

    async def _run(self, process):
        pipe = asyncio.subprocess.PIPE
        started = await asyncio.create_subprocess_exec(
            "sh", "-c", process.command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=self._home, start_new_session=True
        )
        self._groups.append(started.pid)
        left = asyncio.ensure_future(process.wait_closed())
        served = asyncio.ensure_future(serve(process, started))
        try:
            await asyncio.wait({left, served}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # as OpenSSH does it: what still runs when its channel closes goes on, here until the board is shut
            await started.wait()
            self._groups.remove(started.pid)
            await asyncio.wait({served}, timeout=LIMIT_S)
            left.cancel()
            started._transport.close()


class Doorman(asyncssh.SSHServer):
    """Lets the client open connections to other machines, as a jump host does."""

    def connection_requested(self, dest_host, dest_port, orig_host, orig_port):
        return True


async def serve(process, started):
    into = asyncio.ensure_future(pump(process.stdin, started.stdin))
    await asyncio.gather(pump(started.stdout, process.stdout), pump(started.stderr, process.stderr))
    code = await started.wait()
    into.cancel()
    if code < 0:
        process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
    else:
        process.exit(code)


async def pump(source, target):
    with contextlib.suppress(OSError, asyncssh.Error):
        while piece := await source.read(65536):
            target.write(piece)
            await target.drain()
    if isinstance(target, asyncio.StreamWriter):
        target.close()


class Link:
    """A way to a port that breaks or falls silent once so many bytes have come from the client.

    Attributes:
        port: Where it listens.
        cut_after: After how many bytes it breaks; None for never.
        silent: Whether it swallows all there is.
    """

    def __init__(self, port: int) -> None:
        self._loop = LoopThread()
        self._to = port
        self._came = 0
        self._writers = []
        self.cut_after = None
        self.silent = False
        self._server = self._loop.call(asyncio.start_server(self._carry, "127.0.0.1", 0), LIMIT_S)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self):
        self._loop.call(self._shut(), LIMIT_S)
        self._loop.stop()

    async def _shut(self):
        self._server.close()
        self._break()
        await self._server.wait_closed()

    def _break(self):
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _carry(self, reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, back]
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(self._pass(reader, back, counted=True), self._pass(there, writer, counted=False))

    async def _pass(self, reader, writer, *, counted):
        with contextlib.suppress(OSError):
            while piece := await reader.read(4096):
                if counted and self.cut_after is not None:
                    self._came += len(piece)
                    if self._came > self.cut_after:
                        self.cut_after, self._came = None, 0
                        self._break()
                        return
                if not self.silent:
                    writer.write(piece)
                    await writer.drain()
        writer.close()


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A board with SFTP."""
    with contextlib.closing(Board(tmp_path_factory.mktemp("ssh"))) as running:
        yield running


@pytest.fixture(scope="module")
def plain_board(tmp_path_factory):
    """A board without SFTP, as many small ones are."""
    with contextlib.closing(Board(tmp_path_factory.mktemp("plain"), sftp=False)) as running:
        yield running


@pytest.fixture(params=["sftp", "exec"])
def either(request, board, plain_board):
    """Both boards, one after the other."""
    return board if request.param == "sftp" else plain_board


@pytest.fixture
def link(either):
    """A link to either board, whose host key is known there too."""
    with contextlib.closing(Link(either.port)) as running:
        either.know(either.port, running.port)
        yield running


@pytest.fixture
def reach():
    """Opens transports: a board, a port if it is another, facts of the address and settings -> transport."""
    with contextlib.ExitStack() as stack:

        def reached(board, port=None, *, settings=None, **facts):
            at = Host(user="pi", host="127.0.0.1", port=port or board.port)
            address = SshAddress(**{"at": at, "key": board.key, **facts})
            known = SshSettings(**{"known_hosts": (board.known_hosts,), "config": (), **(settings or {})})
            return stack.enter_context(contextlib.closing(SshTransport(address, known)))

        yield reached


class TestContract(TransportContract):
    @pytest.fixture
    def transport(self, board, reach):
        return reach(board)

    @pytest.fixture
    def folder(self, tmp_path_factory):
        return PurePosixPath(tmp_path_factory.mktemp("there"))


class TestContractWithoutSftp(TestContract):
    @pytest.fixture
    def transport(self, plain_board, reach):
        return reach(plain_board)


def says(transport, text="ok"):
    return transport.run(["printf", text], time_limit_s=LIMIT_S).stdout.decode() == text


class TestHostKeys:
    def test_an_unknown_one_is_refused_with_its_fingerprint_and_the_next_command(self, board, reach, tmp_path):
        transport = reach(board, settings={"known_hosts": (tmp_path / "absent",)})
        with pytest.raises(AccessDeniedError, match="not known") as caught:
            says(transport)

        assert board.host_key.get_fingerprint() in caught.value.message
        assert transport.address in caught.value.message
        assert f"ssh -p {board.port} pi@127.0.0.1" in caught.value.hint
        assert caught.value.exit_code == 5

    def test_another_than_the_known_one_is_refused_as_changed(self, board, reach, tmp_path):
        other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
        (tmp_path / "known").write_text(f"[127.0.0.1]:{board.port} {other}\n")
        with pytest.raises(AccessDeniedError, match="changed") as caught:
            says(reach(board, settings={"known_hosts": (tmp_path / "known",)}))

        assert f"ssh-keygen -R '[127.0.0.1]:{board.port}'" in caught.value.hint

    def test_a_known_one_of_another_type_is_refused(self, board, reach, tmp_path):
        other = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_public_key().decode()
        (tmp_path / "known").write_text(f"[127.0.0.1]:{board.port} {other}\n")
        with pytest.raises(AccessDeniedError, match="host key"):
            says(reach(board, settings={"known_hosts": (tmp_path / "known",)}))

    def test_a_revoked_one_is_refused(self, board, reach, tmp_path):
        public = board.host_key.export_public_key().decode()
        (tmp_path / "known").write_text(
            f"[127.0.0.1]:{board.port} {public}\n@revoked [127.0.0.1]:{board.port} {public}\n"
        )
        with pytest.raises(AccessDeniedError, match="revoked"):
            says(reach(board, settings={"known_hosts": (tmp_path / "known",)}))

    def test_a_pinned_one_is_taken_without_any_file(self, board, reach):
        assert says(reach(board, host_key=board.host_key.get_fingerprint(), settings={"known_hosts": ()}))

    def test_a_pin_outweighs_what_the_files_know(self, board, reach):
        pin = "SHA256:" + "A" * 43
        with pytest.raises(AccessDeniedError, match=pin) as caught:
            says(reach(board, host_key=pin))

        assert board.host_key.get_fingerprint() in caught.value.message

    def test_a_damaged_file_is_said(self, board, reach, tmp_path):
        (tmp_path / "known").write_text("nonsense\n")
        with pytest.raises(UsageError, match="known"):
            says(reach(board, settings={"known_hosts": (tmp_path / "known",)}))


class TestLogin:
    def test_a_key_that_the_device_does_not_know_is_refused(self, board, reach, tmp_path):
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(tmp_path / "other")
        with pytest.raises(AccessDeniedError, match="the user pi not in") as caught:
            says(reach(board, key=tmp_path / "other"))

        assert f"ssh-copy-id -p {board.port} pi@127.0.0.1" in caught.value.hint

    def test_a_key_that_is_not_there_is_said(self, board, reach, tmp_path):
        with pytest.raises(AccessDeniedError, match="absent"):
            says(reach(board, key=tmp_path / "absent"))

    def test_a_key_that_is_none_is_said(self, board, reach, tmp_path):
        (tmp_path / "id").write_text("nonsense")
        with pytest.raises(AccessDeniedError, match=r"the key .*id"):
            says(reach(board, key=tmp_path / "id"))

    def test_a_key_with_a_passphrase_is_one_for_the_agent(self, board, reach, tmp_path):
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(
            tmp_path / "id", "pkcs8-pem", passphrase="secret"
        )
        with pytest.raises(AccessDeniedError, match=r"the key .*id") as caught:
            says(reach(board, key=tmp_path / "id"))

        assert "ssh-add" in caught.value.hint

    def test_nobody_there_is_unreachable(self, board, reach):
        with contextlib.closing(Link(board.port)) as gone:
            port = gone.port
        with pytest.raises(UnreachableError, match="connecting") as caught:
            says(reach(board, port))

        assert "ssh -v" in caught.value.hint

    def test_a_host_that_says_nothing_is_given_up(self, board, reach):
        with contextlib.closing(Link(board.port)) as link:
            link.silent = True
            with pytest.raises(UnreachableError, match=r"within 0.1 s"):
                says(reach(board, link.port, settings={"connect_limit_s": 0.1}))

    def test_one_login_serves_all_that_follows(self, board, reach, tmp_path):
        transport = reach(board)
        before = board.logins
        (tmp_path / "here").write_bytes(b"x")
        for _ in range(3):
            assert says(transport)
            transport.put(tmp_path / "here", PurePosixPath(tmp_path / "there"), time_limit_s=LIMIT_S)

        assert board.logins == before + 1


class TestJumpHosts:
    def test_the_way_leads_through_them(self, reach, tmp_path):
        with contextlib.closing(Board(tmp_path)) as gate:
            gate.know(gate.port)
            transport = reach(gate, jumps=(Host(user="user", host="127.0.0.1", port=gate.port),) * 2)
            assert says(transport)
            transport.close()
            assert gate.logins == 3

    def test_an_unknown_one_is_named(self, board, plain_board, reach):
        gate = Host(user="user", host="127.0.0.1", port=plain_board.port)
        with pytest.raises(AccessDeniedError, match=f"jump host user@127.0.0.1:{plain_board.port}.*not known"):
            says(reach(board, jumps=(gate,)))


class TestLostLinks:
    @pytest.mark.parametrize("after", [30_000, 123_456, 400_000])
    def test_a_put_that_was_cut_goes_on(self, either, reach, link, tmp_path, after):
        content = bytes(range(256)) * 3000
        (tmp_path / "here").write_bytes(content)
        there = tmp_path / "there"
        transport = reach(either, link.port)
        assert says(transport)
        link.cut_after = after
        with pytest.raises(LinkLostError, match="putting there"):
            transport.put(tmp_path / "here", PurePosixPath(there), time_limit_s=LIMIT_S)
        held = len(transport.run(["cat", str(there)], time_limit_s=LIMIT_S).stdout)
        assert held <= after
        transport.put(tmp_path / "here", PurePosixPath(there), offset=held, time_limit_s=LIMIT_S)

        assert there.read_bytes() == content

    def test_a_link_that_falls_silent_is_noticed(self, either, reach, link):
        transport = reach(either, link.port, settings={"keepalive_s": 0.02})
        assert says(transport)
        link.silent = True
        with pytest.raises(LinkLostError, match="lost"):
            transport.run(["sleep", "600"], time_limit_s=LIMIT_S)

    def test_a_put_into_silence_ends_at_its_limit(self, either, reach, link, tmp_path):
        (tmp_path / "here").write_bytes(bytes(1_000_000))
        transport = reach(either, link.port)
        transport.put(tmp_path / "here", PurePosixPath(tmp_path / "there"), time_limit_s=LIMIT_S)
        link.silent = True
        with pytest.raises(DeviceTimeoutError, match=r"nothing came for 0.2 s"):
            transport.put(tmp_path / "here", PurePosixPath(tmp_path / "there"), time_limit_s=0.2)

    def test_the_next_call_connects_again(self, either, reach, link):
        transport = reach(either, link.port)
        assert says(transport)
        link.cut_after = 0
        with pytest.raises(LinkLostError):
            says(transport)

        assert says(transport)

    def test_a_program_over_its_limit_is_killed_there(self, either, reach, tmp_path):
        transport = reach(either)
        assert says(transport)
        told = tmp_path / "pid"
        with pytest.raises(DeviceTimeoutError, match="did not end within 1 s"):
            transport.run(["sh", "-c", f"echo $$ > {told}; exec sleep 600"], time_limit_s=1)
        waiting = f"while kill -0 {told.read_text().strip()} 2>/dev/null; do :; done"

        assert transport.run(["sh", "-c", waiting], time_limit_s=LIMIT_S).code == 0


class TestDisks:
    def test_a_full_one_is_said(self, either, reach, small_disk, tmp_path):
        (tmp_path / "here").write_bytes(bytes(100_000))
        with pytest.raises(NoRoomError, match="disk is full"):
            reach(either).put(tmp_path / "here", PurePosixPath(small_disk / "there"), time_limit_s=LIMIT_S)

    def test_no_hole_is_left_that_would_pass_for_a_file(self, either, reach, small_disk, tmp_path):
        transport = reach(either)
        content = bytes(range(1, 251)) * 4000
        (tmp_path / "here").write_bytes(content)
        with pytest.raises(NoRoomError):
            transport.put(tmp_path / "here", PurePosixPath(small_disk / "there"), time_limit_s=LIMIT_S)
        transport.close()
        held = (small_disk / "there").read_bytes()

        assert held == content[: len(held)]

    def test_a_folder_that_is_not_there_is_named(self, either, reach, tmp_path):
        (tmp_path / "here").write_bytes(b"x")
        with pytest.raises(DeviceError, match=r"absent|No such file") as caught:
            reach(either).put(tmp_path / "here", PurePosixPath(tmp_path / "absent/x"), time_limit_s=LIMIT_S)

        assert f"ls -ld {tmp_path / 'absent'}" in caught.value.hint


def test_many_transports_share_one_thread(board, reach, tmp_path):
    (tmp_path / "here").write_bytes(bytes(range(250)) * 1000)
    transports = [reach(board, settings={"connect_limit_s": LIMIT_S}) for _ in range(12)]

    def put(n):
        transports[n].put(tmp_path / "here", PurePosixPath(tmp_path / f"there{n}"), time_limit_s=LIMIT_S)

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(put, range(12)))

    assert {(tmp_path / f"there{n}").read_bytes() for n in range(12)} == {(tmp_path / "here").read_bytes()}
    assert {transport._loop for transport in transports} == {shared_loop()}
