"""What a decoder raises for bytes that are not what they should be."""

from typing import Final

import msgspec

NOT_DECODED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Its own error, and Python's: for text that is not UTF-8, and for what is nested deeper than anything of ours. Whoever
catches only the first lets a stranger's bytes out as a fault of our own."""
