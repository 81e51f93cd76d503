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

    SlowPathWarning            right numbers, slowly: an error in a test, a line on the screen
"""

import warnings

_told: set[str] = set()


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


class SlowPathWarning(UserWarning):
    """A fast path was wanted and cannot be taken; the text says which, and why."""


def slow_path(text: str) -> None:
    """Warn once in this process that the slow way is taken, and why.

    A rank tells it as an event; under pytest every warning is an error.
    """
    if text not in _told:
        # Marked first: where the warning is an error, the next call must not hide it.
        _told.add(text)
        try:
            warnings.warn(text, SlowPathWarning, stacklevel=3)
        except SlowPathWarning:
            _told.discard(text)
            raise
