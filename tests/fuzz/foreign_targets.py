"""Fuzzed: what `attach` and its keeper leave, plans of packed rows, hints, our own CSV again."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.test_strangers import Desk
from tests.fuzz import hf_targets
from tests.fuzz.doors import Finding, clean_report, in_place, typed

LOG = b"".join(b"step %d loss %.3f lr 0.1\n" % (n, 3 - n / 50) for n in range(50))


def database() -> bytes:
    """A project of trackio's: a SQLite database."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "project.db"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(
                "create table metrics(id integer primary key, timestamp text, run_name text, "
                "step integer, metrics text)"
            )
            for step in range(30):
                numbers = json.dumps({"train/loss": 3 - step / 20, "eval/loss": 3.0})
                row = (f"2026-01-01T00:00:{step:02d}", f"run-{step // 20}", step, numbers)
                connection.execute(
                    "insert into metrics(timestamp, run_name, step, metrics) values(?, ?, ?, ?)",
                    row,
                )
            connection.commit()
        return path.read_bytes()


# ---- checkpoints of a trainer, which a restart chooses from -------------------------------------

STEP = 10


def _zip() -> bytes:
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    return out.getvalue()


CHECKPOINT = {
    "trainer_state.json": json.dumps(
        {"global_step": STEP, "max_steps": 20, "log_history": [{"step": 5, "loss": 2.0}]}
    ).encode(),
    "model.safetensors": hf_targets.safetensors({"w": (4, 8), "b": (1, 3)}),
    "optimizer.pt": _zip(),
    "rng_state.pth": b"\x80\x02}.",
    "training_args.bin": b"\x80\x02}.",
}


def trainer_files(desk: Desk) -> list[bytes]:
    return list(CHECKPOINT.values())


def try_trainer_files(desk: Desk, rng: random.Random, data: bytes) -> None:
    from engine.attach import hf_checkpoints

    folder = desk.folder / "trained" / f"checkpoint-{STEP}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in CHECKPOINT.items():
        (folder / name).write_bytes(content)
    name = rng.choice((*CHECKPOINT, "trainer_state.json", "model.safetensors"))
    with in_place(folder / name, data):
        if not isinstance(hf_checkpoints.fault(folder, STEP, rng.choice((1, 2))), str):
            raise Finding("a fault that is no text")
        hf_checkpoints.newest_whole(str(folder.parent))
        hf_checkpoints.size_bytes(folder)
        if name == "trainer_state.json":
            typed(
                rng.choice((("show", str(folder / name)), ("show", str(folder / name), "--json")))
            )


# ---- runs of other trainers ---------------------------------------------------------------------

MANIFEST = {
    "schema": 1,
    "id": "20260101-000000-kept",
    "name": "kept",
    "recipe": None,
    "created": 1.7e9,
    "trainer": "foreign",
    "kept": True,
    "command": ["python", "train.py", "--lr", "1e-4"],
    "cwd": "/",
    "host": "h",
    "world_size": 1,
    "device_type": "cpu",
    "nodes": 1,
    "max_restarts": 3,
    "config": {},
    "start": {"source": "foreign", "label": "kept"},
    "notes": ["a note"],
    "attach": True,
    "output_dir": "/nowhere",
}
KEPT = (
    json.dumps(MANIFEST).encode(),
    b'{"answer": "attached", "reason": "", "attempt": 1, "pid": 12}',
    b'{"answer": "dark", "reason": "KeyError: x", "attempt": 2, "pid": 12}',
)


def keeper_files(desk: Desk) -> list[bytes]:
    return list(KEPT)


def try_keeper_files(desk: Desk, rng: random.Random, data: bytes) -> None:
    """`run.json` and `attach.json` of a kept run; nothing of it is started."""
    from engine.run import foreign
    from engine.run.run_dir import RunDir

    run = desk.folder / "kept" / "20260101-000000-kept"
    if not run.exists():
        shutil.copytree(desk.stopped, run)
    (run / "run.json").write_bytes(KEPT[0])
    name = "run.json" if b"schema" in data[:80] else "attach.json"
    with in_place(run / name, data):
        note = foreign.read_note(RunDir(run))
        if note is not None and not isinstance(note.reason, str):
            raise Finding("a reason that is no text")
        words = [
            ("runs", "--runs-dir", str(run.parent)),
            ("show", str(run)),
            ("show", str(run), "--json"),
            ("report", str(run), "-o", str(desk.folder / "report.md")),
            ("attach", "--headless", str(run)),
            ("compare", str(run), str(desk.stopped)),
            ("run", "--headless", "--dry-run", "--resume", str(run)),
        ]
        typed(rng.choice(words))


# ---- plans of packed rows -----------------------------------------------------------------------


def plans(desk: Desk) -> list[bytes]:
    from engine.step import row_packing

    common: dict[str, Any] = {"world_size": 2, "device_batch_size": 2, "max_seq_len": 40}
    plan = row_packing.plan_rows([7, 12, 30] * 40, total_batch_size=320, **common)
    validation = row_packing.plan_validation([5, 6] * 9, eval_tokens=320, **common)
    path = desk.folder / "packing.npz"
    row_packing.save(path, plan, validation)
    return [path.read_bytes()]


def try_plan(desk: Desk, rng: random.Random, data: bytes) -> None:
    from engine.errors import RunDirError
    from engine.step import row_packing

    path = desk.folder / "packing.npz"
    with in_place(path, data), contextlib.suppress(RunDirError):
        plan, validation = row_packing.load(path)
        if plan.num_updates:
            plan.micro_batches(plan.num_updates - 1)
        validation.micro_batches()


# ---- what was said of a log ---------------------------------------------------------------------

HINTS = (
    b'{"format": "printed", "map": {"step": "step", "train.loss": "loss"}}',
    b'{"format": null, "map": {}}',
)


def try_hints(desk: Desk, rng: random.Random, data: bytes) -> None:
    log = desk.folder / "hinted.log"
    with in_place(log, LOG), in_place(log.with_name("hinted.log.sftui.json"), data):
        typed(rng.choice((("show", str(log)), ("show", str(log), "--json"))))


# ---- what we wrote, read again ------------------------------------------------------------------


_MOST_EXPORTED = 2_000_000
"""Bytes."""


def try_exported(desk: Desk, rng: random.Random, data: bytes) -> None:
    """`show --series '*' --csv` of a log, opened as a log."""
    # Three commands read it or what came of it: together they have the time of one.
    data = data[:_MOST_EXPORTED]
    log, again = desk.folder / "train.log", desk.folder / "exported.csv"
    with in_place(log, data):
        text = printed("show", str(log), "--series", "*", "--csv")
    if not text:
        return
    heads = next(csv.reader(io.StringIO(text)))
    formula = [head for head in heads if head[:1] in FORMULAS]
    if formula:
        raise Finding(f"a head that a spreadsheet would compute: {formula[0][:80]!r}")
    words = (
        ("show", str(again)),
        ("show", str(again), "--json"),
        ("compare", str(again), str(again)),
    )
    with in_place(again, text.encode()):
        typed(rng.choice(words))
        typed(("report", str(again), "-o", str(desk.folder / "report.md")))
        if (desk.folder / "report.md").exists():
            clean_report(desk.folder / "report.md")


FORMULAS = tuple("=+-@")


@contextlib.contextmanager
def _stdout_into(out: io.StringIO) -> Iterator[None]:
    before, sys.stdout = sys.stdout, out
    try:
        yield
    finally:
        sys.stdout = before


def printed(*words: str) -> str:
    """What a command prints; nothing where it refuses."""
    from sftui import cli

    typed(words)
    out = io.StringIO()
    with _stdout_into(out), open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):  # noqa: PTH123
        code = cli.main(list(words))
    return out.getvalue() if code == 0 else ""
