"""Long proofs, for ``warifu lab prove``: faults, kills and hostile sequences on the real thing."""
