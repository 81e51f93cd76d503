"""Everything sftui raises on purpose.

    SftuiError                 a sentence for a person; never a traceback
    +-- UsageError             what was typed is wrong: exit code 2
    |   +-- ConfigError        a setting is unknown, of the wrong type or out of range
    |   +-- DataError          a data file is missing, empty or malformed (file, line, expected)
    |   +-- CheckpointError    a checkpoint or tokenizer is missing, damaged or of another kind
    |   +-- RunDirError        a run directory is missing, in use or not writable
    +-- WireError              one line of an event or control file cannot be read
    +-- RunFailedError         the run itself failed: exit code 1

A message says what was found, what was expected, and what to type next.
"""


class SftuiError(Exception):
    """Root of every error that is ours; `str(error)` is fit to print."""


class UsageError(SftuiError):
    """A person can mend it before anything is started."""


class ConfigError(UsageError):
    """One or several settings are wrong; all of them are in the message."""


class DataError(UsageError):
    """A data file cannot be used."""


class CheckpointError(UsageError):
    """A checkpoint or its tokenizer cannot be used."""


class RunDirError(UsageError):
    """A run directory cannot be found, made or locked."""


class WireError(SftuiError):
    """A line is not an event (or control) of ours."""


class RunFailedError(SftuiError):
    """Training ended without success."""
