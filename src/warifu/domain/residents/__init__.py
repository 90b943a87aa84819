"""Residents: identity information, its changes, and individual numbers."""
