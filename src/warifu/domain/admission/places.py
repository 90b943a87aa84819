"""Where a node stands: the name in its certificate says so, and its own word is not taken."""

from typing import Final

LOCAL: Final = frozenset({"cs", "terminal"})
"""Kinds of nodes that stand in a municipality: named ``<kind>-<code>``, or ``<kind>-<code>-…`` if there are several."""


def place_of(name: str) -> str:
    """The municipality's code in a proved node name (``terminal-131016-2``: 131016); "" for one that stands in none."""
    kind, _, rest = name.partition("-")
    return rest.partition("-")[0] if kind in LOCAL else ""
