"""Load on a real stack: counters that do not exist, the evaluation's three tests, and their reports."""
