"""Where records live: PostgreSQL, its memory twin, the schema they share, and the audit chain.

Both stores keep ``warifu.ports.store.Store`` under one suite of contract tests. May import from every floor below
``adapters``; ``schema`` imports the nodes' records so that their tables can be derived.
"""
