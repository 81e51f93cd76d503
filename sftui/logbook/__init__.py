"""The log behind the log pane: what is in memory, what is on disk, filters and search.

There are two contents: the event log (events, the older ones from the journal) and the
file log (every line of a text log, as it stands). The log book holds both, and the
filter, search and scrolling of the pane. Nothing here draws, and of a file only the
part that is shown is read.
"""
