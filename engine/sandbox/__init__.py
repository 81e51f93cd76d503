"""Run a program that a model wrote, so that nothing of it gets out: `program_sandbox` is the entry.

A program is started by bubblewrap in namespaces of its own: no network, no home, a system
that cannot be written, one empty folder of a few MiB, no `/proc`. A filter of system calls
takes away new processes, new namespaces and what else a program that solves a puzzle never
asks for. What is left is bounded in memory, time, files and output, and killed as a whole.
"""
