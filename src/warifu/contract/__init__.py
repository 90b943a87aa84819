"""Floor 0: every message between nodes, typed once. Grows by addition only; ``docs/contract.md`` is its index."""
