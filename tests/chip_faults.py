"""Faults of a chip that more than one oracle must find."""

from warifu.chip import pins
from warifu.chip.apdu import Command, StatusError
from warifu.chip.state import ChipState


def free_tries(state: ChipState, command: Command) -> bytes:
    """VERIFY whose wrong PIN costs no try."""
    image = state.image
    try:
        return pins.verify(state, command)
    except StatusError:
        state.keep(image)
        raise
