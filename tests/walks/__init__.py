"""Walks through the program in a real terminal, for looking at: `python -m tests.walks.NAME`."""
