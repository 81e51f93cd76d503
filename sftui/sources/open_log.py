"""Open what a command line names: a log of any known format, a run directory, or a run's id.

Formats are recognised by content, never by name: people's logs are called `out2.txt`. What
was recognised, and by what, is said in the header; `--format` overrides it.
"""

from __future__ import annotations

import codecs
import dataclasses
import math
import os
import stat
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import RunDirError, UsageError
from engine.events import Event
from engine.files import checked
from engine.run import run_dir
from engine.run.run_dir import RunDir
from sftui.readers import Reader, Sniffed, without_colours
from sftui.readers.envelopes import envelope_of, unwrapped, unwrapped_and_fault
from sftui.readers.journal import JournalReader
from sftui.sources import hints
from sftui.sources.feed import FileFeed
from sftui.sources.hints import Hints
from sftui.sources.reading import no_stage
from sftui.sources.recording import Recording
from sftui.sources.replay import ReplaySource

if TYPE_CHECKING:
    from sftui.readers.meanings import Names

SURE_ENOUGH = 0.35
_CERTAIN = 0.99
"""No other reader is surer of the same bytes: they hold a format's own signature."""
_SIGNATURE_BYTES = 64
"""A binary format begins with its signature, and with a NUL among so many bytes."""
_HEAD_BYTES = 1024 * 1024
_LONG_HEAD_BYTES = 16 * 1024 * 1024
"""A pipeline may print megabytes of installing and downloading before it trains."""
_PATIENCE_SECONDS = 0.25
"""A log of some thousand lines is read in that time, so its first picture is its last."""
_MOST_CANDIDATES = 200
_MOST_BESIDE_BYTES = 256 * 1024 * 1024
_MOST_SUPERVISOR_EVENTS = 100_000
_MOST_LINES = 20_000
_OTHER_FILES = {
    b"\x28\xb5\x2f\xfd": "packed with zstd. `zstd -d` unpacks it; gzip, bzip2 and xz are read as "
    "they are.",
    b"\x04\x22\x4d\x18": "packed with lz4. `lz4 -d` unpacks it; gzip, bzip2 and xz are read as "
    "they are.",
    b"PK\x03\x04": "a zip archive. `unzip` unpacks it; name the log in it.",
    b"PAR1": "a Parquet file: a table of rows. Of metrics, pandas' `to_csv` makes a CSV, which is "
    "read.",
    b"%PDF": "a PDF document, not a log.",
}
"""By their first bytes: what a file is, and what to do with it."""


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
    mapped: str | None = None,
    follow: bool = False,
    speed: float = math.inf,
) -> Opened:
    """A source over `target` that may still be reading; `close` it in the end.

    `format_name` and `mapped` are what a person says of a log (`--format`, `--map`); they are
    kept for the next time it is opened.

    Raises:
        UsageError: there is no such file or run, or it is no log of a known format.
    """
    opened, feed = _prepare(target, runs_dir, format_name, mapped, follow=follow, speed=speed)
    feed.start(_PATIENCE_SECONDS)
    if feed.done and not follow:
        _check_stages(opened, feed)
    return opened


def read_whole(
    target: str,
    *,
    runs_dir: str | Path | None = None,
    format_name: str | None = None,
    mapped: str | None = None,
) -> Opened:
    """The same, read to its end before this returns: for `show`, `report` and `compare`.

    Raises:
        UsageError: as `open_replay`.
    """
    opened, feed = _prepare(target, runs_dir, format_name, mapped, follow=False, speed=math.inf)
    feed.read_all()
    _check_stages(opened, feed)
    if feed.damage:
        return dataclasses.replace(opened, why=f"{opened.why}; the file {feed.damage}")
    return opened


def choose_stage(source: ReplaySource, number: int) -> None:
    """Play stage `number`, counted from 1; a file that is still read is waited for.

    Raises:
        UsageError: the file has fewer.
    """
    source.read_on()
    while len(source.stages) < number and source.loading:
        time.sleep(0.02)
    names = [stage.name for stage in source.stages]
    if not 1 <= number <= len(names):
        raise no_stage(number, names)
    source.select_stage(number - 1)


def run_named(target: str | None, runs_dir: str | Path | None = None) -> RunDir | None:
    """The run that a command line names; None for a log of another program.

    Args:
        target: None for the newest run.

    Raises:
        UsageError: there is no such run or file, or its event log is no file.
    """
    if target is None:
        return run_dir.find(None, run_dir.runs_root(runs_dir))
    _, run = _locate(target, runs_dir, None)
    if run is not None:
        _refuse_other(run.events)
    return run


def recognise(
    head: bytes, format_name: str | None = None, names: Names | None = None
) -> tuple[type[Reader], Sniffed] | None:
    """The reader that is surest of these first bytes, and why; None if none is sure enough.

    `names`: what a person said that the log's names mean.

    Raises:
        UsageError: `format_name` is no format.
    """
    head = unwrapped(head, _LONG_HEAD_BYTES).removeprefix(codecs.BOM_UTF8)
    if b"\x1b" in head and b"\0" not in head[:_HEAD_BYTES]:
        head = without_colours(head)
    if format_name is None:
        # What these two are certain of is theirs, and the other readers need not be imported.
        sniffed = JournalReader.sniff(head)
        if sniffed.confidence >= _CERTAIN:
            return JournalReader, sniffed
        from sftui.readers.csv_metrics import CsvReader  # noqa: PLC0415  as above

        sniffed = CsvReader.sniff(head)
        if sniffed.confidence >= _CERTAIN and not names:
            return CsvReader, sniffed
        if b"\0" in head[:_SIGNATURE_BYTES] and (signed := _signed(head)):
            return signed
    from sftui.readers.plain_text import PlainTextReader  # noqa: PLC0415  the last to be asked
    from sftui.sources.formats import BY_NAMES, READERS  # noqa: PLC0415  a dozen modules

    if format_name is not None:
        for reader in READERS:
            if reader.name == format_name:
                return reader, Sniffed(1.0, f"--format {format_name}")
        formats = ", ".join(sorted(reader.name for reader in READERS))
        raise UsageError(f"--format {format_name!r} is not known; it is one of {formats}.")
    best: tuple[type[Reader], Sniffed] | None = None
    if names:
        # Names that somebody had to explain are nobody's who knows his own.
        told = ((reader, reader.sniff(head, names)) for reader in BY_NAMES)
        best = max(told, key=lambda found: found[1].confidence)
        return best if best[1].confidence >= SURE_ENOUGH else None
    for reader in READERS:
        if reader is PlainTextReader and best and best[1].confidence >= PlainTextReader.most_sure:
            break  # it knows any line with a step and a number, and takes longest to say so
        sniffed = reader.sniff(head)
        if best is None or sniffed.confidence > best[1].confidence:
            best = reader, sniffed
    return best if best and best[1].confidence >= SURE_ENOUGH else None


def _signed(head: bytes) -> tuple[type[Reader], Sniffed] | None:
    """The reader of the format whose signature a binary file begins with; None for no such."""
    from sftui.sources.binary_formats import SIGNED  # noqa: PLC0415  not for text

    for reader in SIGNED:
        sniffed = reader.sniff(head)
        if sniffed.confidence >= _CERTAIN:
            return reader, sniffed
    return None


def _prepare(
    target: str,
    runs_dir: str | Path | None,
    format_name: str | None,
    mapped: str | None,
    *,
    follow: bool,
    speed: float,
) -> tuple[Opened, FileFeed]:
    path, run = _locate(target, runs_dir, format_name)
    said = Hints(format=format_name, mapped=_told(mapped))
    known = hints.load(path) if run is None else Hints()
    format_name = said.format or known.format
    told = said.mapped or known.mapped
    names = _names(told) if told else None
    beside: list[Event] = []
    if run is not None:
        path, beside = run.events, _supervisor_events(run)
        _refuse_other(path)
    head = _head(path, follow=follow)
    found: tuple[type[Reader], Sniffed] | None
    if run is not None and format_name is None:
        found = JournalReader, Sniffed(1.0, f"{run.path.name} is a run directory")
    else:
        found = recognise(head, format_name, names)
    if found is None and len(head) == _HEAD_BYTES:
        found = _recognised_later(path, names)
    if found is None and not follow:
        raise UsageError(_not_recognised(path, head))
    if names and found is not None and not hasattr(found[0], "again"):
        raise UsageError(
            f"--map says what names mean; {found[0].name} logs have names of their own. "
            "--format plain, jsonl or csv reads it by names."
        )
    if said and run is None:
        kept = Hints(format=format_name, mapped=said.mapped or known.mapped)
        hints.save(path, kept)
    why = found[1].why if found is not None else "nothing yet: it has too few lines"

    def choose(start: bytes) -> Reader | None:
        chosen = found or recognise(start, None, names)
        if chosen is None:
            return None
        reader = chosen[0]
        made = reader(names) if names else reader()  # type: ignore[call-arg]
        if hasattr(made, "file_name"):
            made.file_name = path.name
        if hasattr(made, "write_ahead"):
            made.write_ahead = _beside(path, "-wal")
        return made

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


def _beside(path: Path, ending: str) -> bytes:
    """The bytes of a file that belongs to a log; none where there is no such file."""
    try:
        return checked.read_bytes(path.with_name(path.name + ending), _MOST_BESIDE_BYTES)
    except OSError:
        return b""


def _told(mapped: str | None) -> dict[str, str]:
    """What `--map` says, by meaning."""
    if not mapped:
        return {}
    from sftui.readers.meanings import parse_map  # noqa: PLC0415  only where something was said

    return parse_map(mapped)


def _names(told: dict[str, str]) -> Names:
    from sftui.readers.meanings import Names  # noqa: PLC0415  only where something was said

    return Names(told)


def _recognised_later(path: Path, names: Names | None) -> tuple[type[Reader], Sniffed] | None:
    """Of a log that begins with much else: the rest of the file, a window after the other.

    A pipeline may print megabytes of installing and downloading before it trains.
    """
    with path.open("rb") as file:
        head = file.read(_LONG_HEAD_BYTES)
        found = recognise(head, None, names)
        packed = envelope_of(head) is not None
        while found is None and not packed and (block := file.read(_LONG_HEAD_BYTES)):
            checked.skip_hole(file, block)
            start = block.find(b"\n") + 1
            found = recognise(block[start:], None, names)
    return found


def _locate(
    target: str, runs_dir: str | Path | None, format_name: str | None
) -> tuple[Path, RunDir | None]:
    path = Path(target)
    if path.is_dir():
        try:
            is_run = (path / "run.json").is_file()
        except PermissionError:
            is_run = True
        if is_run:
            # Of one that may not be read, `find` says whose it is.
            run = run_dir.find(target, path.parent)
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
        runs, private = run_dir.runs_and_private(root)
        hint = (
            f"The newest run is {runs[0].id}: `sftui replay {runs[0].id}`."
            if runs
            else f"There are {run_dir.none_under(root, private)}"
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
    if head.startswith(b"SQLite format 3\0"):
        return f"{path} is a SQLite database without trackio's table of metrics."
    for magic, words in _OTHER_FILES.items():
        if head.startswith(magic):
            return f"{path} is {words}"
    envelope = envelope_of(head)
    plain, fault = unwrapped_and_fault(head, _HEAD_BYTES)
    if envelope is not None and fault and (not plain or len(head) < _HEAD_BYTES):
        rest = "What lies before that is no training log that is known." if plain else ""
        return f"{path} {fault}; expected a whole {envelope.name} file. {rest}".rstrip()
    if b"\0" in plain:
        return f"{path} is a binary file of no known kind. Known formats: {names}."
    from sftui.readers import leftovers  # noqa: PLC0415  for a refusal alone

    shapes: Counter[str] = Counter()
    for line in plain.decode("utf-8", "replace").splitlines()[:_MOST_LINES]:
        if shape := leftovers.shape_of(line):
            leftovers.note(shapes, shape)
    held = "none of its lines holds a number."
    if total := shapes.total():
        lines = f"{total:,} of its lines hold numbers" if total > 1 else "one line holds numbers"
        held = f"{lines}: {leftovers.commonest(shapes)}."
    return (
        f"{path} is no training log that is known: no two of its lines have a step and a loss, and "
        f"{held} What is needed is a line, row or bar with a training loss and a step, an epoch "
        "or a count; --map step=NAME,train.loss=NAME says which names they have here. "
        f"Known formats: {names}; --format forces one."
    )


def _supervisor_events(run: RunDir) -> list[Event]:
    reader = JournalReader()
    events: list[Event] = []
    try:
        with checked.open_file(run.supervisor_events) as file:
            while len(events) < _MOST_SUPERVISOR_EVENTS and (data := file.read(_HEAD_BYTES)):
                events += reader.feed(data)
                checked.skip_hole(file, data)
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
            "no training step with a loss of a known name, or was cut off before the first. "
            "--map train.loss=NAME says what it is called here; --format tries another reader."
            + (f" The file {feed.damage}." if feed.damage else "")
        )
