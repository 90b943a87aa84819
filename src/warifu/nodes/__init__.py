"""Floor 3: the nodes. Plain asyncio over ports; the same code runs in production and in the schedule search.

May import ``domain``, ``verify``, ``ports``, ``contract``, ``chip``, ``kernel``; never an adapter, thread or socket.
"""
