"""Whether a run that goes on meets the rows it was planned with: digests of what is rendered.

The number of rows stays the same when somebody rewrites, reorders or swaps them, and the
remaining steps would silently be of other texts. So the manifest keeps a digest of every
source of rows, in the order the plan visits them. A hub data set is read only by the ranks;
they keep its digest in `rows.json` when they first see it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from engine.data.dataset import Item
from engine.errors import DataError, RunDirError
from engine.files import checked
from engine.run import run_dir
from engine.run.run_dir import RunDir

KEY = "row_digests"
"""Of the manifest."""

TRAIN, VALIDATION, QUESTIONS = "training", "validation", "question"

_WORDS = {TRAIN: "training rows", VALIDATION: "validation rows", QUESTIONS: "questions"}


def digest(items: Iterable[Item]) -> str:
    """SHA-256 over the contents of rows in this order; ids and file names do not count."""
    found = hashlib.sha256()
    for item in items:
        found.update(item.content_hash().encode())
    return found.hexdigest()


def collect(parts: Iterable[tuple[str, str, Iterable[Item] | None]]) -> dict[str, str]:
    """Digests by `USE NAME` of (use, name, rows); a source whose rows are None is left out.

    The second source of one name is `USE NAME#2`.
    """
    found: dict[str, str] = {}
    seen: dict[str, int] = {}
    for use, name, items in parts:
        key = f"{use} {name}"
        seen[key] = seen.get(key, 0) + 1
        if items is not None:
            found[key if seen[key] == 1 else f"{key}#{seen[key]}"] = digest(items)
    return found


def changed(now: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    """What differs, in words: `the training rows of chat`. Sources on one side only do not count:
    that is a change of settings."""
    found = []
    for key, value in now.items():
        if before.get(key, value) != value:
            use, _, name = key.partition(" ")
            found.append(f"the {_WORDS[use]} of {name}")
    return found


def settle(
    run: RunDir, recorded: Mapping[str, str] | None, now: Mapping[str, str], *, write: bool
) -> None:
    """Compare what the ranks have read with what is recorded; keep what is new (`write`: rank 0).

    `recorded` are the manifest's digests; None for a run of an earlier sftui that kept none.

    Raises:
        DataError: rows were changed under a run that began with others.
    """
    if recorded is None:
        return
    before = dict(recorded) | read(run)
    if found := changed(now, before):
        raise DataError(refusal(run, found))
    new = {key: value for key, value in now.items() if key not in before}
    if new and write:
        run_dir.write_private(run.rows, json.dumps(read(run) | new, indent=1).encode())


def refusal(run: RunDir, found: list[str]) -> str:
    """The sentence that refuses to go on with changed rows."""
    return (
        f"{_and(found)} are not those that {run.id} was planned with: they were edited, reordered "
        "or replaced. Put the files back as they were, or type --resume-changed beside --resume "
        "to go on with these."
    )


def read(run: RunDir) -> dict[str, str]:
    """Digests of hub data sets, as the ranks first read them; empty when there are none.

    Raises:
        RunDirError: the file is damaged.
    """
    try:
        raw = checked.read_json(run.rows)
        return {key: checked.text(value) for key, value in checked.table(raw).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunDirError(
            f"{run.rows} cannot be read ({error}); expected digests of the rows. Move it away to "
            "go on without comparing the hub's data sets."
        ) from None


def forget(run: RunDir) -> None:
    """Other rows are meant from here on: what the ranks read next is recorded anew."""
    run.rows.unlink(missing_ok=True)


def _and(names: list[str]) -> str:
    text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return text[0].upper() + text[1:]
