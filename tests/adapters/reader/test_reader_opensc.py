"""OpenSC, unchanged, reads a card of ours through pcscd and vpcd and signs with both of its keys."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from chip_kit import CARD_ID, PINS, card_in_use, certificate, run
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from warifu.adapters.reader.files import FileReader, list_cards, read_image, store_card
from warifu.adapters.reader.pcscd import Pcscd

DEADLINE_S = 60


class Desk:
    """A table with a PC/SC reader on it and a card inside."""

    def __init__(self, pcscd: Pcscd, folder: Path) -> None:
        self._pcscd = pcscd
        self.folder = folder

    async def run(self, *arguments: str, fails: bool = False) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *self._pcscd.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder
        )
        out, err = await process.communicate()
        assert (process.returncode != 0) == fails, (arguments, out, err)
        return out + err if fails else out


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    async with asyncio.timeout(DEADLINE_S), Pcscd(folder / "pcscd") as pcscd:
        holder = await asyncio.create_subprocess_exec(
            *pcscd.command(sys.executable, "-m", "warifu.adapters.reader", str(folder / "cards"), CARD_ID),
            stdout=subprocess.PIPE,
        )
        try:
            assert holder.stdout is not None
            assert await holder.stdout.readline() == b"inserted\n"
            yield Desk(pcscd, folder)
        finally:
            holder.terminate()
            await holder.wait()
    assert holder.returncode == 0


def at_the_desk(folder: Path, work: Callable[[Desk], Awaitable[None]]) -> None:
    cards = folder / "cards"
    cards.mkdir()
    store_card(cards, CARD_ID, card_in_use().saved[-1])

    async def main() -> None:
        async with desk(folder) as table:
            await work(table)

    run(main())


def public_pem(der: bytes) -> bytes:
    return (
        x509.load_der_x509_certificate(der)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


@pytest.mark.real
def test_opensc_lists_reads_and_verifies(tmp_path: Path) -> None:
    async def work(table: Desk) -> None:
        assert b"Yes" in await table.run("opensc-tool", "-l")
        assert await table.run("opensc-tool", "-n") == b"jpki\n"
        listing = await table.run("pkcs15-tool", "-c")
        assert listing.count(b"X.509 Certificate") == 4
        for number, name, ca in (
            ("1", "authentication", "auth CA"),
            ("3", "auth CA", "auth CA"),
            ("4", "signature CA", "signature CA"),
        ):
            pem = await table.run("pkcs15-tool", "--read-certificate", number)
            assert x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER) == certificate(name, ca)
        pem = await table.run(
            "pkcs15-tool", "--read-certificate", "2", "--verify-pin", "-a", "2", "--pin", PINS["signature"]
        )
        start = pem.index(b"-----BEGIN")
        der = x509.load_pem_x509_certificate(pem[start:]).public_bytes(serialization.Encoding.DER)
        assert der == certificate("signature", "signature CA")
        await table.run("pkcs15-tool", "--verify-pin", "-a", "1", "--pin", "0000", fails=True)
        await table.run("pkcs15-tool", "--verify-pin", "-a", "1", "--pin", PINS["authentication"])

    at_the_desk(tmp_path, work)
    assert read_image(tmp_path / "cards", CARD_ID).life == "in_use"
    assert list_cards(tmp_path / "cards") == (CARD_ID,)
    run(give_back(tmp_path / "cards"))


async def give_back(cards: Path) -> None:
    """The lock is free again: the card can be connected."""
    connection = await FileReader(cards).connect(CARD_ID)
    await connection.close()


@pytest.mark.real
def test_openssl_verifies_what_opensc_signed_with_both_keys(tmp_path: Path) -> None:
    async def work(table: Desk) -> None:
        (tmp_path / "message").write_bytes(b"two halves of one tally")
        await table.run("openssl", "dgst", "-sha256", "-binary", "-out", f"{tmp_path}/digest", f"{tmp_path}/message")
        for key, name, ca in (("1", "authentication", "auth CA"), ("2", "signature", "signature CA")):
            (tmp_path / "public.pem").write_bytes(public_pem(certificate(name, ca)))
            await table.run(
                "pkcs15-crypt", "-s", "-k", key, "--pin", PINS[name], "--pkcs1", "--sha-256", "-R",
                "-i", f"{tmp_path}/digest", "-o", f"{tmp_path}/signature",
            )  # fmt: skip
            verdict = await table.run(
                "openssl", "dgst", "-sha256", "-verify", f"{tmp_path}/public.pem",
                "-signature", f"{tmp_path}/signature", f"{tmp_path}/message",
            )  # fmt: skip
            assert verdict == b"Verified OK\n"

    at_the_desk(tmp_path, work)


@pytest.mark.real
def test_pkcs11_tool_sees_two_tokens_and_signs_with_both_keys(tmp_path: Path) -> None:
    async def work(table: Desk) -> None:
        slots = await table.run("pkcs11-tool", "--list-token-slots")
        assert slots.count(b"token manufacturer : JPKI") == 2
        (tmp_path / "message").write_bytes(b"two halves of one tally")
        for slot, number, name, ca in (
            ("0", "01", "authentication", "auth CA"),
            ("1", "02", "signature", "signature CA"),
        ):
            token = ("pkcs11-tool", "--slot-index", slot, "--login", "--pin", PINS[name])
            listed = await table.run(*token, "--list-objects")
            assert b"Private Key Object; RSA" in listed
            await table.run(*token, "--read-object", "--type", "cert", "--id", number, "-o", f"{tmp_path}/leaf.der")
            assert (tmp_path / "leaf.der").read_bytes() == certificate(name, ca)
            (tmp_path / "public.pem").write_bytes(public_pem(certificate(name, ca)))
            await table.run(
                *token, "--sign", "--id", number, "--mechanism", "SHA256-RSA-PKCS",
                "--input-file", f"{tmp_path}/message", "--output-file", f"{tmp_path}/signature",
            )  # fmt: skip
            verdict = await table.run(
                "openssl", "dgst", "-sha256", "-verify", f"{tmp_path}/public.pem",
                "-signature", f"{tmp_path}/signature", f"{tmp_path}/message",
            )  # fmt: skip
            assert verdict == b"Verified OK\n"

    at_the_desk(tmp_path, work)
