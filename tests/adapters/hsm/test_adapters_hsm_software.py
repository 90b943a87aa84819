"""The software key store: its files, its PIN, and several workers at once."""

import asyncio
import stat
from pathlib import Path

import pytest

from warifu.adapters.hsm.config import SoftwareConfig
from warifu.adapters.hsm.engine import Engine
from warifu.adapters.hsm.errors import DeviceFailed
from warifu.adapters.hsm.prepare import prepare_software
from warifu.adapters.hsm.process import ProcessHsmFactory
from warifu.adapters.hsm.software import SoftwareDevice
from warifu.ports import hsm


@pytest.fixture
def config(tmp_path: Path) -> SoftwareConfig:
    return prepare_software(tmp_path / "hsm")


def files(config: SoftwareConfig) -> list[Path]:
    return sorted(path for path in Path(config.directory).iterdir() if path.suffix != ".lock")


def test_keys_outlive_the_worker(config: SoftwareConfig) -> None:
    public = Engine(SoftwareDevice(config)).perform(hsm.CreateKey("relay/agree", "agree"))
    assert Engine(SoftwareDevice(config)).perform(hsm.PublicKey("relay/agree")) == public


def test_only_the_owner_can_read_the_files(config: SoftwareConfig) -> None:
    SoftwareDevice(config).create("store/wrap", "wrap")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [*files(config), Path(config.pin_file)]}
    assert modes == {"store.parameters": 0o600, "store%2Fwrap.key": 0o600, "pin": 0o600}
    assert stat.S_IMODE(Path(config.directory).stat().st_mode) == 0o700


def test_preparing_again_keeps_the_pin(config: SoftwareConfig, tmp_path: Path) -> None:
    before = Path(config.pin_file).read_text()
    assert prepare_software(tmp_path / "hsm") == config
    assert Path(config.pin_file).read_text() == before


@pytest.mark.parametrize("pin", ["another", "", " \n"])
def test_another_pin_does_not_open_the_store(config: SoftwareConfig, pin: str) -> None:
    SoftwareDevice(config)
    Path(config.pin_file).write_text(pin)
    with pytest.raises(DeviceFailed):
        SoftwareDevice(config)


def test_the_error_about_a_pin_does_not_tell_it(config: SoftwareConfig) -> None:
    SoftwareDevice(config)
    Path(config.pin_file).write_text("4711-secret")
    with pytest.raises(DeviceFailed) as caught:
        SoftwareDevice(config)
    assert "4711" not in str(caught.value)


def test_a_missing_pin_file_is_said(config: SoftwareConfig) -> None:
    Path(config.pin_file).unlink()
    with pytest.raises(DeviceFailed):
        SoftwareDevice(config)


def test_a_key_file_under_another_name_does_not_open(config: SoftwareConfig) -> None:
    SoftwareDevice(config).create("one", "wrap")
    folder = Path(config.directory)
    (folder / "one.key").rename(folder / "other.key")
    with pytest.raises(DeviceFailed):
        SoftwareDevice(config).find("other", "wrap")


@pytest.mark.parametrize("at", [5, -1])
def test_a_damaged_key_file_does_not_open(config: SoftwareConfig, at: int) -> None:
    SoftwareDevice(config).create("one", "wrap")
    path = Path(config.directory) / "one.key"
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DeviceFailed):
        SoftwareDevice(config).find("one", "wrap")


def test_a_write_that_was_cut_off_is_no_key(config: SoftwareConfig) -> None:
    device = SoftwareDevice(config)
    (Path(config.directory) / "one.key.new").write_bytes(b"half")
    assert Engine(device).perform(hsm.Mac("one", b"")) == hsm.Rejected("hsm.no_such_key")
    assert Engine(device).perform(hsm.CreateKey("one", "mac")) == hsm.Done()
    assert "one.key.new" not in {path.name for path in files(config)}


@pytest.mark.parametrize("label", ["../outside", "a/b", ".hidden", "鍵", "%2e"])
def test_a_label_never_leaves_the_folder(config: SoftwareConfig, label: str) -> None:
    Engine(SoftwareDevice(config)).perform(hsm.CreateKey(label, "mac"))
    outside = [path for path in Path(config.directory).parent.rglob("*.key") if path.parent != Path(config.directory)]
    assert outside == []


async def create_everywhere(factory: ProcessHsmFactory, command: hsm.CreateKey) -> list[hsm.HsmReply]:
    workers = [await factory.spawn(f"test/hsm-{number}") for number in range(4)]
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        tasks = [group.create_task(worker.call(command)) for worker in workers]
    for worker in workers:
        await worker.kill()
    return [task.result() for task in tasks]


def test_several_workers_make_a_key_once(config: SoftwareConfig) -> None:
    replies = asyncio.run(create_everywhere(ProcessHsmFactory(config), hsm.CreateKey("ca/sign", "sign")))
    assert isinstance(replies[0], hsm.Bytes)
    assert replies == [replies[0]] * 4
