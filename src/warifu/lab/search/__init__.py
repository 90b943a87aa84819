"""Searching schedules: one run, many runs, every order, a failing run made smaller and told as a story."""
