"""Makes a device where there was none: a software store, or a token of SoftHSM2. Doing it again changes nothing."""

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from warifu.adapters.hsm.change_pin import PinChange
from warifu.adapters.hsm.config import Pkcs11Config, SoftwareConfig
from warifu.adapters.hsm.device import exclusive
from warifu.kernel.errors import Unavailable

SOFTHSM_MODULES: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
_PIN_BYTES: Final = 24
_INIT_SECONDS: Final = 30


def find_softhsm() -> str | None:
    """Path of SoftHSM2's module, or None when it or its tool is not on this machine."""
    if shutil.which("softhsm2-util") is None:
        return None
    return next((path for path in SOFTHSM_MODULES if Path(path).exists()), None)


def prepare_software(folder: Path) -> SoftwareConfig:
    """A software store in ``folder`` with a random PIN."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    pin_file = folder / "pin"
    with exclusive(folder / "prepare.lock"):
        if not pin_file.exists():
            _write_pin(pin_file, _new_pin())
    return software_config(folder)


def software_config(folder: Path) -> SoftwareConfig:
    """How the software store in ``folder`` is reached, whether or not it is there."""
    return SoftwareConfig(directory=str(folder / "keys"), pin_file=str(folder / "pin"))


def prepare_softhsm(folder: Path, label: str) -> Pkcs11Config:
    """A token ``label`` of SoftHSM2 with a configuration of its own in ``folder`` and a random PIN.

    Blocks for some tens of milliseconds. The PIN file is written last: without it the token is made anew, since no
    key of a token without a PIN can be in use.

    Raises:
        Unavailable: SoftHSM2 is not there or failed.
    """
    config = softhsm_config(folder, label)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with exclusive(folder / "prepare.lock"):
        if not Path(config.pin_file).exists():
            _make_token(folder, config)
    return config


def copy_device(first: Path, second: Path) -> None:
    """A second device with the first one's keys and PIN, as an HSM's maker copies one onto another.

    Call it while nobody makes keys. A copy that has every key stays as it is, since it may be in use.
    """
    with exclusive(first / "prepare.lock"):
        if _key_files(second) == _key_files(first):
            return
        fresh = second.with_name(f"{second.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(first, fresh, ignore=shutil.ignore_patterns("*.lock", "inventory.json"))
        if (fresh / "softhsm2.conf").exists():
            _write_softhsm_conf(fresh, second / "tokens")
        shutil.rmtree(second, ignore_errors=True)
        fresh.rename(second)


def _key_files(folder: Path) -> set[str]:
    found = (path for kind in ("keys", "tokens") for path in (folder / kind).rglob("*"))
    return {str(path.relative_to(folder)) for path in found if path.is_file() and path.suffix != ".lock"}


def softhsm_config(folder: Path, label: str) -> Pkcs11Config:
    """How the token in ``folder`` is reached, whether or not it is there. ``Unavailable`` without SoftHSM2."""
    module = find_softhsm()
    if module is None:
        raise Unavailable("SoftHSM2 is not installed")
    return Pkcs11Config(
        module=module,
        token_label=label,
        pin_file=str(folder / "pin"),
        lock_file=str(folder / "create.lock"),
        environment={"SOFTHSM2_CONF": str(folder / "softhsm2.conf")},
    )


def _make_token(folder: Path, config: Pkcs11Config) -> None:
    tokens = folder / "tokens"
    shutil.rmtree(tokens, ignore_errors=True)
    tokens.mkdir(mode=0o700)
    _write_softhsm_conf(folder, tokens)
    first_pin, pin = _new_pin(), _new_pin()
    _run_softhsm(config, first_pin)
    _change_pin(config, first_pin, pin)
    _write_pin(Path(config.pin_file), pin)


def _write_softhsm_conf(folder: Path, tokens: Path) -> None:
    settings = (
        f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
    )
    (folder / "softhsm2.conf").write_text(settings, "utf-8")


def _run_softhsm(config: Pkcs11Config, pin: str) -> None:
    """Initialise. The tool takes PINs as arguments, which others can see: these are thrown away at once."""
    command = ["softhsm2-util", "--init-token", "--free", "--label", config.token_label]
    command += ["--pin", pin, "--so-pin", _new_pin()]
    _run(command, config, b"")


def _change_pin(config: Pkcs11Config, old: str, new: str) -> None:
    """In a process of its own: the module keeps state, and this one may have threads."""
    order = msgspec.json.encode(PinChange(config=config, old=old, new=new))
    _run([sys.executable, "-m", "warifu.adapters.hsm.change_pin"], config, order)


def _run(command: list[str], config: Pkcs11Config, words: bytes) -> None:
    environment = os.environ | config.environment
    try:
        subprocess.run(  # noqa: S603 - our own words, no shell
            command, env=environment, input=words, check=True, capture_output=True, timeout=_INIT_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{Path(command[0]).name} failed: {type(error).__name__}") from None


def _new_pin() -> str:
    return secrets.token_hex(_PIN_BYTES)


def _write_pin(path: Path, pin: str) -> None:
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(pin)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
