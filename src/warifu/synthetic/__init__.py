"""Floor 4½: made-up residents with made-up faces, the same for the same seed. Nobody's data.

``python -m warifu.synthetic`` prints a few. May import adapters and everything below; demo and laboratory use it.
"""
