"""One entry's rows: opened, put in the exam's or the run's order, cut, and parsed."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

from engine.conversations.conversation import RowFault
from engine.data import mixture_plan
from engine.data.collector import collector_paused
from engine.data.dataset import Item, Rows, find_file, open_rows, parse_row, row_id
from engine.data.entries import DataEntry, DataSettings
from engine.data.hub import HubRows, require_hub
from engine.data.hub_sets import open_set
from engine.data.long_jsonl import Fault, ItemsOnDisk, rows_stay_on_disk
from engine.data.mixture import TaskRows, seed_order
from engine.data.row_files import open_path
from engine.data.row_forms import described, formed
from engine.errors import DataError

Part = Literal["all", "training", "held_out", "exam"]
"""Which rows of an entry: all that are trained on, one side of the rows held out for validation,
or all that are asked or measured. What is asked, and what is held out for it, is chosen by the
exam's seed; what is trained on is ordered by the run's."""


def open_all(
    entries: Sequence[DataEntry], settings: DataSettings, *, download: bool = True
) -> list[tuple[Rows, str]]:
    """Open every entry's rows, with a note each; all missing files are named at once."""
    folder = settings.data_dir
    if folder is not None and not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; expected the data files there. Check --data-dir."
        )
    opened: list[tuple[Rows, str]] = []
    missing: list[str] = []
    wanted_from_hub = [e.name for e in entries if not e.is_own] if folder is None else []
    if wanted_from_hub:
        require_hub(list(dict.fromkeys(wanted_from_hub)))
    for entry in entries:
        if entry.is_own:
            rows = formed(_own_rows(entry), settings.form)
            said = described(rows)
            name = entry.name if entry.file is None else entry.file.name
            opened.append((rows, f"{name} is read as {said}" if said else ""))
        elif folder is None:
            opened.append((HubRows(entry.name, entry.split, download=download), ""))
        elif found := find_file(folder, entry.name, entry.split):
            opened.append((open_rows(found.path), found.note))
        else:
            missing.append(f"{entry.name}.{entry.split}")
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        raise DataError(
            f"{folder}: there is no {names}; expected each as .jsonl or .parquet. Add the "
            "files, or leave out --data-dir to read the hub."
        )
    return opened


def _own_rows(entry: DataEntry) -> Rows:
    """Of the file, folder or data set that was named."""
    if entry.hub is not None:
        return open_set(entry.hub, entry.split)
    assert entry.file is not None
    return open_path(entry.file, entry.split)


def kept_rows(num_rows: int, *limits: int | None) -> int:
    return min([num_rows, *(limit for limit in limits if limit is not None)])


def load_rows(
    rows: Rows,
    entry: DataEntry,
    settings: DataSettings,
    *,
    limit: int | None = None,
    note: str = "",
    part: Part = "all",
) -> TaskRows:
    """Shuffle, cut and parse one entry's rows; faults are raised in file order."""
    found = ItemsOnDisk(rows, entry.name) if rows_stay_on_disk(rows) else _Parsed(rows, entry.name)
    skipped = 0
    if settings.skip_bad_rows:
        # What is left decides the order, so every row has to be looked at first.
        skipped = len(found.look(range(len(rows))))
    candidates = found.sound if settings.skip_bad_rows else range(len(rows))
    if not candidates:
        raise DataError(f"{rows.name}: every one of its {len(rows)} rows is malformed.")
    order = _order(
        len(candidates), kept_rows(len(candidates), entry.size, limit), entry, settings, part
    )
    if not order:
        raise DataError(
            f"{rows.name}: holds one row, which cannot be trained on and validated with; expected "
            "at least two. Add rows, or name validation rows with --validation FILE."
        )
    chosen = [candidates[place] for place in order]
    if not settings.skip_bad_rows:
        raise_first(found.look(sorted(chosen)), advice=" Fix the line, or pass --skip-bad-rows.")
    items, hub_ids = found.take(chosen)
    return TaskRows(
        name=entry.name,
        items=items,
        hub_ids=hub_ids,
        numbers=array("q", [index + 1 for index in chosen]),
        skipped=skipped,
        note=note,
    )


class _Parsed:
    """Rows of one entry as objects in memory; `long_jsonl.ItemsOnDisk` does the same on disk."""

    def __init__(self, rows: Rows, subject: str) -> None:
        self._rows, self._subject = rows, subject
        self._parsed: dict[int, tuple[Item, str]] = {}

    def look(self, indices: Sequence[int]) -> list[Fault]:
        """The faults of these rows, in this order; the sound ones are kept."""
        return parse_into(self._parsed, self._rows, indices, self._subject)

    @property
    def sound(self) -> Sequence[int]:
        """Numbers of the rows without a fault, ascending."""
        return sorted(self._parsed)

    def take(self, chosen: Sequence[int]) -> tuple[Sequence[Item], Sequence[str]]:
        """Items and hub ids of these rows."""
        items, ids = zip(*(self._parsed[index] for index in chosen), strict=True)
        return list(items), list(ids)


def _order(
    count: int, kept: int, entry: DataEntry, settings: DataSettings, part: Part
) -> Sequence[int]:
    """Places of the rows of one part, in the order they are trained on, asked or measured."""
    if not entry.shuffle:
        return side_of(range(kept), part, settings.held_out)
    if part == "all":
        return seed_order(count, settings.seed)[:kept]
    order = side_of(seed_order(count, settings.exam_seed)[:kept], part, settings.held_out)
    if part == "training" and settings.seed != settings.exam_seed:
        # The rows that are left are the same for every seed, their order is not.
        return [order[place] for place in seed_order(len(order), settings.seed)]
    return order


def side_of(order: Sequence[int], part: Part, share: Fraction) -> Sequence[int]:
    """The rows of one side: the last `share` of them, at least one, is held out."""
    held = max(1, int(len(order) * share))
    match part:
        case "training":
            return order[:-held]
        case "held_out":
            return order[-held:]
        case _:
            return order


def planned(tasks: Sequence[TaskRows], entries: Sequence[DataEntry]) -> list[TaskRows]:
    """The training tasks, each with the rows that stand of it in an epoch.

    Raises:
        ConfigError: as `mixture_plan.rows_per_epoch`.
    """
    counts = epoch_counts(entries, [len(task.items) for task in tasks])
    return [replace(task, per_epoch=count) for task, count in zip(tasks, counts, strict=True)]


def epoch_counts(entries: Sequence[DataEntry], lengths: Sequence[int]) -> list[int]:
    """Rows of every training entry in one epoch, of the rows it has."""
    return mixture_plan.rows_per_epoch(
        [entry.name for entry in entries],
        lengths,
        [Fraction(entry.epochs) for entry in entries],
        [entry.weight for entry in entries],
    )


def parse_into(
    parsed: dict[int, tuple[Item, str]], rows: Rows, indices: Sequence[int], subject: str
) -> list[Fault]:
    """Parse rows into `parsed`; the faults with their places, in the order of `indices`."""
    rows.prefetch(indices)
    faults: list[Fault] = []
    with collector_paused():
        for index in indices:
            try:
                raw = rows.read(index)
                parsed[index] = (parse_row(raw, subject=subject), row_id(raw))
            except RowFault as fault:
                faults.append((rows.where(index), fault))
    return faults


def raise_first(faults: Sequence[Fault], *, advice: str) -> None:
    if not faults:
        return
    where, fault = faults[0]
    more = f" ({len(faults) - 1} more bad rows after it.)" if len(faults) > 1 else ""
    raise DataError(f"{where}: {fault}.{advice}{more}")
