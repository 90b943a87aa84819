"""Floor 1: how the world comes in. Each port is a protocol a screenful long, in the domain's terms.

May import ``warifu.kernel`` and ``warifu.contract``. Adapters (floor 4) and the laboratory implement these.
"""
