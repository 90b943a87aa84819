"""The worker process: how it starts, dies, and is told apart from the one before."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import uvloop
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from msgspec.structs import replace

from warifu.adapters.hsm import frames, process
from warifu.adapters.hsm.config import Pkcs11Config, SoftwareConfig
from warifu.adapters.hsm.prepare import prepare_softhsm, prepare_software
from warifu.adapters.hsm.process import ProcessHsmFactory, ProcessHsmWorker
from warifu.kernel.errors import Fault, Malformed, Unavailable
from warifu.nodes.hsm_pool import HsmPool, PoolHealth, PoolLimits
from warifu.ports import hsm


@pytest.fixture
def config(tmp_path: Path) -> SoftwareConfig:
    return prepare_software(tmp_path)


def with_worker(config: SoftwareConfig, test: Callable[[ProcessHsmWorker], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            worker = await ProcessHsmFactory(config).spawn("test/hsm-0")
            try:
                await test(worker)
            finally:
                await worker.kill()

    asyncio.run(main())


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_is_a_process_and_ends_when_killed(config: SoftwareConfig) -> None:
    async def test(worker: ProcessHsmWorker) -> None:
        assert is_running(worker.pid)
        await worker.kill()
        assert not is_running(worker.pid)
        with pytest.raises(Unavailable):
            await worker.call(hsm.SelfTest())
        await worker.kill()

    with_worker(config, test)


def test_a_stopped_worker_can_be_killed_and_its_caller_hears(config: SoftwareConfig) -> None:
    async def test(worker: ProcessHsmWorker) -> None:
        os.kill(worker.pid, signal.SIGSTOP)
        call = asyncio.create_task(worker.call(hsm.SelfTest()))
        await asyncio.sleep(0)
        await worker.kill()
        with pytest.raises(Unavailable):
            await call
        assert not is_running(worker.pid)

    with_worker(config, test)


def test_a_worker_that_dies_tells_its_caller(config: SoftwareConfig) -> None:
    async def test(worker: ProcessHsmWorker) -> None:
        os.kill(worker.pid, signal.SIGSTOP)
        call = asyncio.create_task(worker.call(hsm.SelfTest()))
        await asyncio.sleep(0)
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(Unavailable):
            await call

    with_worker(config, test)


def test_a_worker_whose_device_fails_ends(config: SoftwareConfig) -> None:
    async def test(worker: ProcessHsmWorker) -> None:
        await worker.call(hsm.CreateKey("one", "mac"))
        (Path(config.directory) / "two.key").write_bytes(b"damaged")
        with pytest.raises(Unavailable):
            await worker.call(hsm.Mac("two", b""))

    with_worker(config, test)


def test_it_does_one_command_at_a_time(config: SoftwareConfig) -> None:
    async def test(worker: ProcessHsmWorker) -> None:
        first = asyncio.create_task(worker.call(hsm.SelfTest()))
        await asyncio.sleep(0)
        with pytest.raises(Fault):
            await worker.call(hsm.SelfTest())
        assert await first == hsm.Done()

    with_worker(config, test)


@pytest.mark.parametrize("longest", [frames.MAX_BODY_BYTES, 90])
def test_several_messages_are_answered_each_for_itself_in_one_frame_or_in_several(
    config: SoftwareConfig, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MAX_BODY_BYTES", longest)

    async def test(worker: ProcessHsmWorker) -> None:
        session = b"never opened"
        encrypt, decrypt = (
            hsm.EncryptMessage(session, bytes(12), b"", b"text"),
            hsm.DecryptMessage(session, b"", b"", b""),
        )
        commands: list[hsm.HsmCommand] = [encrypt, decrypt]
        assert list(await worker.call_all(commands)) == [hsm.Rejected("hsm.unknown_session")] * 2

    with_worker(config, test)


def test_an_answer_nobody_waits_for_any_more_is_given_to_nobody_else(config: SoftwareConfig) -> None:
    async def test(worker: ProcessHsmWorker) -> None:
        await worker.call(hsm.CreateKey("one", "mac"))
        right = await worker.call(hsm.Mac("one", b"right"))
        left = asyncio.create_task(worker.call(hsm.Mac("one", b"left")))
        await asyncio.sleep(0)
        left.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await left
        assert await worker.call(hsm.Mac("one", b"right")) == right

    with_worker(config, test)


def test_a_command_longer_than_a_frame_is_malformed_and_nothing_is_sent(config: SoftwareConfig) -> None:
    async def test(worker: ProcessHsmWorker) -> None:
        with pytest.raises(Malformed):
            await worker.call(hsm.Mac("one", bytes(frames.MAX_BODY_BYTES)))
        assert await worker.call(hsm.SelfTest()) == hsm.Done()

    with_worker(config, test)


def test_a_frame_of_the_greatest_length_passes(config: SoftwareConfig) -> None:
    async def test(worker: ProcessHsmWorker) -> None:
        await worker.call(hsm.CreateKey("one", "mac"))
        reply = await worker.call(hsm.Mac("one", bytes(frames.MAX_BODY_BYTES - 100)))
        assert isinstance(reply, hsm.Bytes)

    with_worker(config, test)


def test_a_kill_cancelled_at_any_point_leaves_no_process(config: SoftwareConfig) -> None:
    async def main(steps: int) -> None:
        worker = await ProcessHsmFactory(config).spawn("test/hsm-0")
        os.kill(worker.pid, signal.SIGSTOP)  # so that its end takes as long as it can
        kill = asyncio.create_task(worker.kill())
        for _ in range(steps):
            await asyncio.sleep(0)
        kill.cancel()
        await asyncio.wait([kill])
        assert not is_running(worker.pid)

    for steps in (1, 2, 3):
        asyncio.run(main(steps))


def test_it_works_on_uvloop_too(config: SoftwareConfig) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            worker = await ProcessHsmFactory(config).spawn("test/hsm-0")
            assert await worker.call(hsm.SelfTest()) == hsm.Done()
            await worker.kill()
            assert not is_running(worker.pid)

    uvloop.run(main())


def test_a_device_that_is_not_there_is_said_and_leaves_no_process(tmp_path: Path) -> None:
    config = SoftwareConfig(directory=str(tmp_path), pin_file=str(tmp_path / "missing"))
    with pytest.raises(Unavailable, match="PIN file"):
        asyncio.run(ProcessHsmFactory(config).spawn("test/hsm-0"))


def test_a_worker_that_does_not_start_in_time_is_killed(
    config: SoftwareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = process._popen

    def stopped(config: SoftwareConfig, descriptor: int) -> subprocess.Popen[bytes]:
        started.append(real(config, descriptor))
        started[-1].send_signal(signal.SIGSTOP)
        return started[-1]

    monkeypatch.setattr(process, "_popen", stopped)
    with pytest.raises(Unavailable):
        asyncio.run(ProcessHsmFactory(config, start_deadline_ms=20).spawn("test/hsm-0"))
    assert [child.returncode for child in started] == [-signal.SIGKILL]


def test_a_spawn_cancelled_at_any_point_leaves_no_process(
    config: SoftwareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = process._popen

    def noted(config: SoftwareConfig, descriptor: int) -> subprocess.Popen[bytes]:
        started.append(real(config, descriptor))
        return started[-1]

    monkeypatch.setattr(process, "_popen", noted)

    async def main(steps: int) -> None:
        spawn = asyncio.create_task(ProcessHsmFactory(config).spawn("test/hsm-0"))
        for _ in range(steps):
            await asyncio.sleep(0)
        spawn.cancel()
        await asyncio.wait([spawn])
        assert spawn.cancelled()

    for steps in range(8):
        asyncio.run(main(steps))
    assert [child.returncode for child in started] == [-signal.SIGKILL] * len(started)
    assert started


ORPHAN = """
import asyncio, os, signal, sys
from warifu.adapters.hsm.config import Pkcs11Config, SoftwareConfig
from warifu.adapters.hsm.process import ProcessHsmFactory

async def main():
    worker = await ProcessHsmFactory(SoftwareConfig(directory=sys.argv[1], pin_file=sys.argv[2])).spawn("orphan")
    os.kill(worker.pid, signal.SIGSTOP)  # so that it cannot see its socket close
    print(worker.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_worker_dies_with_its_parent_even_when_it_cannot_look(config: SoftwareConfig) -> None:
    parent = subprocess.run(
        [sys.executable, "-c", ORPHAN, config.directory, config.pin_file], capture_output=True, text=True, check=False
    )
    assert parent.returncode == -signal.SIGKILL
    with contextlib.suppress(ProcessLookupError, PermissionError):
        descriptor = os.pidfd_open(int(parent.stdout))
        assert _ended(descriptor, seconds=10)


def _ended(descriptor: int, seconds: int) -> bool:
    """A process descriptor becomes readable when its process ends."""
    import select  # noqa: PLC0415

    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


POOL_LIMITS = PoolLimits(command_deadline_ms=200, self_test_deadline_ms=2_000)


async def expect_work_to_go_on(factory: ProcessHsmFactory) -> None:
    """F1 with real processes: a worker is stopped in its tracks; its command is done by another; it comes back."""
    pool = HsmPool(factory, "relay-1/hsm", 2, limits=POOL_LIMITS)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        supervisor = group.create_task(pool.run())
        await pool.call(hsm.CreateKey("audit/mac", "mac"), 30_000)
        expected = await pool.call(hsm.Mac("audit/mac", b"data"), 5_000)
        await _until(pool, lambda health: health.ready == health.size)  # either may be the first to be there
        stopped = dict(pool.processes())["relay-1/hsm-0"]
        os.kill(stopped, signal.SIGSTOP)
        replies = [await pool.call(hsm.Mac("audit/mac", b"data"), 5_000) for _ in range(50)]
        assert replies == [expected] * 50
        await _until(pool, lambda health: health.readmitted > 0)
        assert stopped not in dict(pool.processes()).values()
        assert not is_running(stopped)
        supervisor.cancel()


async def _until(pool: HsmPool, reached: Callable[[PoolHealth], bool]) -> None:
    while not reached(pool.health()):
        await pool.call(hsm.Mac("audit/mac", b"data"), 5_000)


def test_the_pool_goes_on_when_a_real_worker_stops(config: SoftwareConfig) -> None:
    asyncio.run(expect_work_to_go_on(ProcessHsmFactory(config)))


@pytest.mark.real
def test_the_pool_goes_on_when_a_worker_of_softhsm_stops(tmp_path: Path) -> None:
    asyncio.run(expect_work_to_go_on(ProcessHsmFactory(prepare_softhsm(tmp_path, "pool"))))


async def create_everywhere(factory: ProcessHsmFactory, command: hsm.CreateKey) -> list[hsm.HsmReply]:
    workers = [await factory.spawn(f"test/hsm-{number}") for number in range(3)]
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        tasks = [group.create_task(worker.call(command)) for worker in workers]
    for worker in workers:
        await worker.kill()
    return [task.result() for task in tasks]


@pytest.mark.real
@pytest.mark.parametrize("purpose", ["sign", "agree", "wrap"])
def test_several_workers_of_one_token_make_a_key_once(tmp_path: Path, purpose: hsm.Purpose) -> None:
    factory = ProcessHsmFactory(prepare_softhsm(tmp_path, "once"))
    replies = asyncio.run(create_everywhere(factory, hsm.CreateKey("one/key", purpose)))
    assert not isinstance(replies[0], hsm.Rejected)
    assert replies == [replies[0]] * 3


@pytest.mark.real
def test_a_prepared_token_has_a_pin_of_its_own_and_is_made_once(tmp_path: Path) -> None:
    config = prepare_softhsm(tmp_path, "once")
    pin = Path(config.pin_file).read_text()
    assert Path(config.pin_file).stat().st_mode & 0o777 == 0o600
    assert prepare_softhsm(tmp_path, "once") == config
    assert Path(config.pin_file).read_text() == pin


@pytest.mark.real
@pytest.mark.parametrize("change", ["pin", "label", "module"])
def test_a_token_that_cannot_be_opened_is_said(tmp_path: Path, change: str) -> None:
    config = prepare_softhsm(tmp_path, "once")
    (tmp_path / "wrong").write_text("0000")
    wrong = {
        "pin": replace(config, pin_file=str(tmp_path / "wrong")),
        "label": replace(config, token_label="another"),
        "module": replace(config, module="/nowhere.so"),
    }[change]
    with pytest.raises(Unavailable):
        asyncio.run(ProcessHsmFactory(wrong).spawn("test/hsm-0"))


HALF_A_PAIR = """
import sys
from pkcs11 import ObjectClass
from warifu.adapters.hsm.config import Pkcs11Config
from warifu.adapters.hsm.pkcs11 import Pkcs11Device
import msgspec

device = Pkcs11Device(msgspec.json.decode(sys.argv[1], type=Pkcs11Config))
device.create("ca/sign", "sign")
for half in device._objects("ca/sign", ObjectClass[sys.argv[2]]):
    half.destroy()
device.close()
"""


def break_pair(config: Pkcs11Config, lost: str) -> None:
    words = msgspec.json.encode(config).decode()
    subprocess.run([sys.executable, "-c", HALF_A_PAIR, words, lost], check=True)


@pytest.mark.real
def test_a_pair_whose_making_was_cut_off_is_made_again(tmp_path: Path) -> None:
    config = prepare_softhsm(tmp_path, "half")
    break_pair(config, lost="PRIVATE_KEY")

    async def main() -> None:
        worker = await ProcessHsmFactory(config).spawn("test/hsm-0")
        assert await worker.call(hsm.Sign("ca/sign", b"")) == hsm.Rejected("hsm.no_such_key")
        public = await worker.call(hsm.CreateKey("ca/sign", "sign"))
        signature = await worker.call(hsm.Sign("ca/sign", b"text"))
        await worker.kill()
        assert isinstance(public, hsm.Bytes)
        assert isinstance(signature, hsm.Bytes)
        key = serialization.load_der_public_key(public.data)
        assert isinstance(key, rsa.RSAPublicKey)
        key.verify(signature.data, b"text", padding.PKCS1v15(), hashes.SHA256())

    asyncio.run(main())


@pytest.mark.real
def test_a_private_key_without_its_public_half_is_never_replaced(tmp_path: Path) -> None:
    config = prepare_softhsm(tmp_path, "half")
    break_pair(config, lost="PUBLIC_KEY")

    async def main() -> None:
        worker = await ProcessHsmFactory(config).spawn("test/hsm-0")
        assert await worker.call(hsm.CreateKey("ca/sign", "sign")) == hsm.Rejected("hsm.rejected")
        assert isinstance(await worker.call(hsm.Sign("ca/sign", b"text")), hsm.Bytes)
        await worker.kill()

    asyncio.run(main())
