"""The base of every request, and the register of them by name."""

from typing import ClassVar

from msgspec import Struct


class Answer(Struct, frozen=True, kw_only=True):
    """Base of every answer. Fields may be added with defaults, never changed or removed."""


class Done(Answer, frozen=True, kw_only=True):
    """It has happened (now, or when the same request first came)."""


class Request(Struct, frozen=True, kw_only=True):
    """Base of every request. Fields may be added with defaults, never changed or removed.

    Class attributes:
        NAME: the name in the envelope, ``<node>.<verb>``; the node is the kind that answers.
        ANSWER: the type of the answer.
        CHANGES: whether it has an effect (then it is idempotent under its key and remembered).
    """

    NAME: ClassVar[str]
    ANSWER: ClassVar[type[Answer]] = Done
    CHANGES: ClassVar[bool] = True

    def __repr__(self) -> str:
        """By name alone: fields may be personal."""
        return f"{self.NAME}(<hidden>)"
