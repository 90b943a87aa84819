"""On behalf of which operation a node works: known to what is deep below its handlers without each telling the next."""

from contextvars import ContextVar
from typing import Final

OPERATION: Final[ContextVar[str]] = ContextVar("operation", default="")
"""The operation's id, in the task that answers a request and in what it starts; empty in a node's own timers."""
