"""Verifiers of signatures and of user authentication: who may ask what, and the log of what they asked."""
