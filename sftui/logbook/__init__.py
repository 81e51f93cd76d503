"""The log behind the log pane: what is in memory, what is on disk, filters and search.

A sheet is one way to read it: the story (events, the older ones from the journal) or
the file (every line of a text log, as it stands). The book holds them and what a
person does with them. Nothing here draws, and a file is read only where one looks.
"""
