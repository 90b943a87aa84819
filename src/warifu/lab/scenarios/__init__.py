"""Scenarios and small cores: which nodes run, who asks them, and what must hold of them in the end."""
