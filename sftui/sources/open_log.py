"""Open what a command line names: a log of any known format, a run directory, or a run's id.

Formats are recognised by content, never by name: people's logs are called `out2.txt`. What
was recognised, and by what, is said in the header; `--format` overrides it.
"""

from __future__ import annotations

import math
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from engine import checked
from engine.errors import RunDirError, UsageError
from engine.events import Event
from engine.run import run_dir
from engine.run.run_dir import RunDir
from sftui.readers import Reader, Sniffed
from sftui.readers.csv_metrics import CsvReader
from sftui.readers.journal import JournalReader
from sftui.sources.feed import FileFeed
from sftui.sources.recording import Recording
from sftui.sources.replay import ReplaySource

_SIGNED = (CsvReader, JournalReader)
"""Asked first: what they are certain of is theirs, and the other readers need not be imported."""
SURE_ENOUGH = 0.35
_CERTAIN = 0.99
"""No other reader is surer of the same bytes: they hold a format's own signature."""
_HEAD_BYTES = 1024 * 1024
_LONG_HEAD_BYTES = 16 * 1024 * 1024
"""A pipeline may print megabytes of installing and downloading before it trains."""
_PATIENCE_SECONDS = 0.25
"""A log of some thousand lines is read in that time, so its first picture is its last."""
_MOST_CANDIDATES = 200
_MOST_SUPERVISOR_EVENTS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A log or run that is being read."""

    source: ReplaySource
    recording: Recording
    path: Path
    title: str
    run: RunDir | None
    """The run directory, when it is one of ours."""
    why: str
    """What was recognised, and by what."""


def open_replay(
    target: str,
    *,
    runs_dir: str | Path | None = None,
    format_name: str | None = None,
    follow: bool = False,
    speed: float = math.inf,
) -> Opened:
    """A source over `target` that may still be reading; `close` it in the end.

    Raises:
        UsageError: there is no such file or run, or it is no log of a known format.
    """
    opened, feed = _prepare(target, runs_dir, format_name, follow=follow, speed=speed)
    feed.start(_PATIENCE_SECONDS)
    if feed.done and not follow:
        _check_stages(opened, feed)
    return opened


def read_whole(
    target: str, *, runs_dir: str | Path | None = None, format_name: str | None = None
) -> Opened:
    """The same, read to its end before this returns: for `show`, `report` and `compare`.

    Raises:
        UsageError: as `open_replay`.
    """
    opened, feed = _prepare(target, runs_dir, format_name, follow=False, speed=math.inf)
    feed.read_all()
    _check_stages(opened, feed)
    return opened


def recognise(head: bytes, format_name: str | None = None) -> tuple[type[Reader], Sniffed] | None:
    """The reader that is surest of these first bytes, and why; None if none is sure enough.

    Raises:
        UsageError: `format_name` is no format.
    """
    if format_name is None:
        for signed in _SIGNED:
            sniffed = signed.sniff(head)
            if sniffed.confidence >= _CERTAIN:
                return signed, sniffed
    from sftui.readers.plain_text import PlainTextReader  # noqa: PLC0415  the last to be asked
    from sftui.sources.formats import READERS  # noqa: PLC0415  a dozen modules

    if format_name is not None:
        for reader in READERS:
            if reader.name == format_name:
                return reader, Sniffed(1.0, f"--format {format_name}")
        names = ", ".join(sorted(reader.name for reader in READERS))
        raise UsageError(f"--format {format_name!r} is not known; it is one of {names}.")
    best: tuple[type[Reader], Sniffed] | None = None
    for reader in READERS:
        if reader is PlainTextReader and best and best[1].confidence >= PlainTextReader.most_sure:
            break  # it knows any line with a step and a number, and takes longest to say so
        sniffed = reader.sniff(head)
        if best is None or sniffed.confidence > best[1].confidence:
            best = reader, sniffed
    return best if best and best[1].confidence >= SURE_ENOUGH else None


def _prepare(
    target: str,
    runs_dir: str | Path | None,
    format_name: str | None,
    *,
    follow: bool,
    speed: float,
) -> tuple[Opened, FileFeed]:
    path, run = _locate(target, runs_dir, format_name)
    beside: list[Event] = []
    if run is not None:
        path, beside = run.events, _supervisor_events(run)
        _refuse_other(path)
    head = _head(path, follow=follow)
    found: tuple[type[Reader], Sniffed] | None
    if run is not None and format_name is None:
        found = JournalReader, Sniffed(1.0, f"{run.path.name} is a run directory")
    else:
        found = recognise(head, format_name)
    if found is None and len(head) == _HEAD_BYTES:
        found = recognise(_head(path, _LONG_HEAD_BYTES, follow=follow))
    if found is None and not follow:
        raise UsageError(_not_recognised(path, head))
    why = found[1].why if found is not None else "nothing yet: it has too few lines"

    def choose(start: bytes) -> Reader | None:
        chosen = found or recognise(start)
        return chosen[0]() if chosen is not None else None

    recording, lock = Recording(), threading.Lock()
    feed = FileFeed(path, recording, choose, lock=lock, follow=follow, beside=beside)
    source = ReplaySource(recording, feed, lock=lock, speed=speed, follow=follow)
    opened = Opened(
        source=source,
        recording=recording,
        path=path,
        title=run.id if run is not None else path.name,
        run=run,
        why=why,
    )
    return opened, feed


def _locate(
    target: str, runs_dir: str | Path | None, format_name: str | None
) -> tuple[Path, RunDir | None]:
    path = Path(target)
    if path.is_dir():
        try:
            is_run = (path / "run.json").is_file()
        except PermissionError:
            # It says whose it is.
            is_run = bool(run_dir.find(target, path.parent))
        if is_run:
            run = RunDir(path.absolute())
            return run.events, run
        return _only_log_in(path), None
    if path.exists():
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise UsageError(f"{target} is no regular file. Name a log file or a run.")
        real = path.resolve()
        beside = RunDir(real.parent)
        ours = beside.manifest.is_file() and beside.events.is_file()
        if ours and format_name is None and real in (beside.run_log, beside.events):
            # The event log beside a run.log holds the same and more.
            return beside.events, beside
        return path, None
    root = run_dir.runs_root(runs_dir)
    if "/" not in target and not path.suffix:
        run = run_dir.find(target, root)
        return run.events, run
    try:
        run = run_dir.find(target, root)
    except RunDirError:
        runs = run_dir.list_runs(root)
        hint = (
            f"The newest run is {runs[0].id}: `sftui replay {runs[0].id}`."
            if runs
            else f"There are no runs under {root} either; `sftui run` starts one."
        )
        raise UsageError(f"{target} does not exist. {hint}") from None
    return run.events, run


def _only_log_in(folder: Path) -> Path:
    """The one log of a directory that is no run of ours."""
    logs = []
    for path in sorted(folder.iterdir())[:_MOST_CANDIDATES]:
        if path.is_file() and recognise(_head(path, 64 * 1024, follow=True)):
            logs.append(path)
    if len(logs) == 1:
        return logs[0]
    if logs:
        names = ", ".join(path.name for path in logs[:8])
        raise UsageError(f"{folder} holds {len(logs)} logs: {names}. Name one of them.")
    raise UsageError(
        f"{folder} is no run directory (it has no run.json) and holds no log that is known. "
        "`sftui runs` lists the runs there are."
    )


def _head(path: Path, size: int = _HEAD_BYTES, *, follow: bool) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(size)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    if not head and not follow:
        raise UsageError(f"{path} is empty. With --follow, sftui waits for its first lines.")
    return head


def _not_recognised(path: Path, head: bytes) -> str:
    from sftui.sources.formats import READERS  # noqa: PLC0415  as above

    names = ", ".join(reader.name for reader in READERS)
    if b"\0" in head:
        return f"{path} is a binary file of no known kind. Known formats: {names}."
    return (
        f"{path} is no training log that is known: none of its lines has a step and a loss. "
        f"Known formats: {names}; --format forces one."
    )


def _supervisor_events(run: RunDir) -> list[Event]:
    reader = JournalReader()
    events: list[Event] = []
    try:
        with checked.open_file(run.supervisor_events) as file:
            while len(events) < _MOST_SUPERVISOR_EVENTS and (data := file.read(_HEAD_BYTES)):
                events += reader.feed(data)
    except OSError:
        pass
    return events + reader.close()


def _refuse_other(path: Path) -> None:
    """Refuse an event log that is a link, a pipe or a device: of a run, nothing is followed."""
    try:
        os.close(checked.open_descriptor(path))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None


def _check_stages(opened: Opened, feed: FileFeed) -> None:
    if feed.error:
        raise UsageError(f"{opened.path} {feed.error}.")
    if not opened.recording.stages:
        raise UsageError(
            f"{opened.path} was recognised as {opened.source.format} ({opened.why}), but it holds "
            "no training step. Is it cut off? --format tries another reader."
        )
