"""Floor 2: pure rules, one folder a noun. ``(state, request, now) -> decision``; no await, no clock, no randomness.

In every folder: ``records.py`` (what is stored), ``rules.py`` (what may happen), ``errors.py`` where it has its own.
May import ``ports``, ``contract``, ``chip``, ``kernel``.
"""
