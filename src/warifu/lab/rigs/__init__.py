"""What benches and proofs set up: a database, an authority at work, cards and rows in bulk."""
