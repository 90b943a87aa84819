"""Tells which card lies in the machine's (or namespace's) PC/SC readers, a line for each change, until it is ended."""

import asyncio

from warifu.adapters.reader.pcsc import PcscReader


async def watch() -> None:
    print("watching", flush=True)  # noqa: T201 - what the test reads
    async for card in PcscReader().laid():
        print(card or "none", flush=True)  # noqa: T201


asyncio.run(watch())
