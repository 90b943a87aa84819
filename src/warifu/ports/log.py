"""The log: one JSON object a record, of constant size, tied together by the operation id. Never personal data."""

from typing import Protocol


class Log(Protocol):
    """Writes records. Field values are identifiers, codes and numbers."""

    def info(self, event: str, **fields: str | float) -> None:
        """Something worth knowing happened."""

    def trouble(self, event: str, **fields: str | float) -> None:
        """Something went wrong that a person should look at."""
