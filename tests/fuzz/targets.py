"""What is fuzzed: a target for each kind of input, with real inputs and what is done to them.

Most are files, and what is done is what a person types: the command itself runs, with the file in
its place. It may refuse the file; anything else than exit codes 0 to 2 and clean text is a finding.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.conftest import SHARED
from tests.faults.test_strangers import PLACEHOLDER, Desk
from tests.fuzz import answer_targets, foreign_targets, hf_targets
from tests.fuzz.doors import (
    ACTS_ON_A_TERMINAL,
    OLD,
    Finding,
    Target,
    Words,
    clean_report,
    in_place,
    looks,
    of_run,
    typed,
)
from tests.fuzz.mutations import TOKENS, mutated

# ---- logs ---------------------------------------------------------------------------------------

OWN_LOGS = (
    b"step 1/10 | loss 3.5 | lr 1e-3 | tok/sec 1,234\nstep 2/10 | loss 3.25 | lr 1e-3\n" * 5,
    b"{'loss': 0.5, 'grad_norm': 0.18, 'learning_rate': 1.5e-05, 'epoch': 0.25}\n" * 6,
    b"epoch,step,train_loss,val_loss\n"
    + b"".join(b"0,%d,%f,\n" % (n, 3 - n / 9) for n in range(20)),
    b'{"step": 1, "loss": 3.5}\n{"step": 2, "loss": 3.0, "eval/loss": 2.5}\n' * 4,
    json.dumps(
        {"max_steps": 3, "log_history": [{"step": n, "loss": 2.0} for n in range(3)]}
    ).encode(),
    b"Iter 10: Train loss 2.1, Learning Rate 1e-5, It/sec 1.2\nIter 10: Val loss 2.0\n",
    b"s:0 tel:11.0\ns:1 trl:10.5\ns:2 trl:10.25\ns:250 tel:6.5\ns:250 eval:0.25\n",
)
"""Lines of our own for each family of formats: used too where the reference folder is missing."""


def logs(desk: Desk) -> list[bytes]:
    folder = SHARED / "logs"
    real = [
        path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "README.md"
    ]
    own = [*OWN_LOGS, foreign_targets.database()]
    return [*own, *(path.read_bytes() for path in real)]


def read_log(desk: Desk, rng: random.Random, data: bytes) -> None:
    path = desk.folder / rng.choice(("train.log", "metrics.csv", "log.jsonl", "trainer_state.json"))
    log, out = str(path), str(desk.folder / "report.md")
    commands: list[Words] = [
        ("show", log),
        ("show", log, "--json"),
        ("replay", "--headless", log),
        ("report", log, "-o", out),
        ("compare", log, log),
        ("compare", log, log, "--json"),
    ]
    with in_place(path, data):
        words = rng.choice(commands)
        typed(words)
        if words[0] == "report" and (desk.folder / "report.md").exists():
            clean_report(desk.folder / "report.md")


# ---- files of a run -----------------------------------------------------------------------------


def file_of_run(*names: str) -> Callable[[Desk, random.Random, bytes], None]:
    def try_one(desk: Desk, rng: random.Random, data: bytes) -> None:
        paths = [path for name in names for path in desk.stopped.glob(name)]
        with in_place(rng.choice(paths or [desk.stopped / names[0]]), data):
            typed(rng.choice(looks(desk)))

    return try_one


SMALL_FILES = ("run.json", "resume.json", "lock", "heartbeat/rank-0.json", "live.json", "rows.json")

CARDS = (
    b'{"v": 1, "address": "/nowhere/live", "key": "00", "pid": 1, "host": "h"}',
    b'{"schema": 1, "resumptions": [{"created": 1.0, "attempt": 2, "world_size": 1, '
    b'"device_type": "cpu", "changed": {"keep": 9}, "command": ["sftui"], "rows": 3}]}',
)


def small_files(desk: Desk) -> list[bytes]:
    return [*of_run("run.json", "lock", "heartbeat/*")(desk), *CARDS]


def results(desk: Desk) -> list[bytes]:
    return of_run("evals/*.npz")(desk)


def try_events(desk: Desk, rng: random.Random, data: bytes) -> None:
    with in_place(desk.stopped / rng.choice(("events.jsonl", "supervisor.jsonl")), data):
        typed(rng.choice(looks(desk)[:9]))


# ---- requests, wire, keys -----------------------------------------------------------------------


def lines_of_wire(desk: Desk) -> list[bytes]:
    lines = (desk.stopped / "events.jsonl").read_bytes().splitlines()
    return [*lines[:: max(1, len(lines) // 60)], *requests(desk)]


def requests(desk: Desk) -> list[bytes]:
    from engine.control import Command, Request
    from engine.journal import wire

    return [
        wire.encode_request(
            Request(id=f"a{n}", command=command, argument=0.5, author="x", t=1e9, expires=2e9)
        )
        for n, command in enumerate(Command)
    ]


def try_wire(desk: Desk, rng: random.Random, data: bytes) -> None:
    from engine.errors import WireError
    from engine.journal import wire

    for line in data.split(b"\n")[:200]:
        with contextlib.suppress(WireError):
            wire.encode(wire.decode(line))
        with contextlib.suppress(WireError):
            wire.encode_request(wire.decode_request(line))


def try_requests(desk: Desk, rng: random.Random, data: bytes) -> None:
    from engine.run.run_dir import RunDir
    from engine.steering.inbox import Inbox

    run = RunDir(desk.stopped)
    with in_place(run.control, b""):
        inbox = Inbox(run, 2)
        inbox.read()
        for at in range(0, len(data), step := rng.choice((7, 999, 10**6))):
            if at // step > 50:
                break
            with run.control.open("ab") as file:
                file.write(data[at : at + step])
            inbox.read()


def key_files(desk: Desk) -> list[bytes]:
    return [
        b'{"theme": "sftui-day", "smoothing": 3, "keys": {"pause": "f5", "stop": "ctrl+x"}}',
        b'{"keys": {"help": "f1"}, "log_y": true, "smoothing": 0.9, "charts": {"order": "name"}}',
        b'pause = "f5"\nstop = ["ctrl+x", "f9"]\n',
    ]


def try_keys(desk: Desk, rng: random.Random, data: bytes) -> None:
    from sftui.keys import keymap, preferences
    from sftui.keys.key_table import DEFAULT_KEYS

    with in_place(rng.choice((preferences.path(), keymap.path())), data):
        found = keymap.load()
        DEFAULT_KEYS.changed(found.keys)
        clean = set(found.said) & set(ACTS_ON_A_TERMINAL)
        if clean:
            raise Finding(f"{clean} in a message about keys")
        preferences.save(preferences.load())


SEQUENCES = (
    b"\x1b[A\x1b[B\x1bOPjkq",
    b"\x1b[<0;10;10M\x1b[<0;10;10m",
    b"\x1b[200~pasted\x1b[201~",
    b"\x1b[48;30;100;600;1000t",
    b"\x1b[?2026;2$y\x1b[I\x1b[O",
    b"\x1b[M !!",
    b"\x1b[97;5u\x1b[57344;1:1u",
    b"\x1bP1$r0 q\x1b\\\x1b]11;rgb:0000/0000/0000\x07",
    "äöü€漢字".encode(),
    b"\x1b[1;5C\x1b[15~\x1b[3;4R",
)


def try_keyboard(desk: Desk, rng: random.Random, data: bytes) -> None:
    """The parser alone, in pieces of any length."""
    from textual import events

    from sftui.terminal.keyboard import MOST_CELLS, Keyboard

    keyboard = Keyboard()
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    at = 0
    while at < min(len(data), 50_000):
        piece = data[at : (at := at + rng.choice((1, 3, 20, 4096)))]
        for message in [*keyboard.feed(decode(piece)), *keyboard.tick()]:
            if isinstance(message, events.Resize) and max(message.size) > MOST_CELLS:
                raise Finding(f"a terminal of {message.size}")
    keyboard.end_input()


# ---- models, tokenizers, settings, data ---------------------------------------------------------


def of_desk(*patterns: str) -> Callable[[Desk], list[bytes]]:
    return lambda desk: [p.read_bytes() for each in patterns for p in desk.folder.glob(each)]


def try_tokenizer(desk: Desk, rng: random.Random, data: bytes) -> None:
    from engine.conversations.tokenizer import Tokenizer
    from engine.errors import CheckpointError

    ending = "pkl" if data[:1] == b"\x80" else rng.choice(("json", "pkl"))
    path = desk.folder / f"tokenizer.{ending}"
    with in_place(path, data), contextlib.suppress(CheckpointError):
        Tokenizer.load(path).encode_ordinary("a sentence, 12 words")


def try_model(desk: Desk, rng: random.Random, data: bytes) -> None:
    """nanochat's meta file and weights, where a run would start from them."""
    [meta] = desk.folder.glob("cache/mid_checkpoints/*/meta_*.json")
    [weights] = desk.folder.glob("cache/mid_checkpoints/*/model_*.pt")
    start = (
        "run",
        "--dry-run",
        "--headless",
        "--source",
        "mid",
        "--data-dir",
        str(desk.folder / "data"),
    )
    with in_place(weights if data[:2] == b"PK" else meta, data):
        typed(rng.choice([("fit", "--source", "mid"), start]))


def try_config(desk: Desk, rng: random.Random, data: bytes) -> None:
    path = desk.folder / "settings.toml"
    with in_place(path, data):
        data_dir = f"--data-dir={desk.folder / 'data'}"
        typed(
            ("run", "--dry-run", "--headless", "--source", "mid", data_dir, "--config", str(path))
        )


def try_rows(desk: Desk, rng: random.Random, data: bytes) -> None:
    path = rng.choice(sorted((desk.folder / "data").iterdir()))
    with in_place(path, data):
        more = rng.choice([(), ("--skip-bad-rows",)])
        folder = str(desk.folder / "data")
        typed(("run", "--dry-run", "--headless", "--source", "mid", "--data-dir", folder, *more))


def try_model_files(desk: Desk, rng: random.Random, data: bytes) -> None:
    """A Hugging Face model whose tokenizer or settings are damaged."""
    path = desk.folder / rng.choice(hf_targets.TOKENIZER_FILES)
    with in_place(path, data):
        rows = desk.folder / hf_targets.ROWS
        typed(rng.choice([hf_targets.look(desk, rng, rows), hf_targets.plan(desk, rng, rows)]))


def try_adapters(desk: Desk, rng: random.Random, data: bytes) -> None:
    """Adapters and weights, as a model to train and as what `chat` and `eval` look for."""
    from engine.errors import SftuiError
    from engine.model.hf import hf_folders

    weights = data[8:9] == b"{" or b"safetensors" in data[:9]
    names = hf_targets.WEIGHT_FILES if weights else hf_targets.ADAPTER_FILES
    path = desk.folder / rng.choice(names)
    with in_place(path, data):
        for folder in (path.parent, desk.folder / hf_targets.MODEL):
            with contextlib.suppress(SftuiError):
                hf_folders.find(folder)
        typed(hf_targets.plan(desk, rng, desk.folder / hf_targets.ROWS, model=path.parent))


def try_template(desk: Desk, rng: random.Random, data: bytes) -> None:
    path = desk.folder / "template.jinja"
    with in_place(path, data):
        rows = desk.folder / hf_targets.ROWS
        words = hf_targets.look(desk, rng, rows)
        typed((*words, "--chat-template", str(path)))


def try_table(desk: Desk, rng: random.Random, data: bytes) -> None:
    """Rows in a file of any kind, mostly of the kind that its name says."""
    ending = rng.choice(hf_targets.ENDINGS)
    if data[:2] == b"\x1f\x8b":
        ending = rng.choice(("jsonl.gz", "csv.gz"))
    elif data[:4] == b"PAR1":
        ending = "parquet"
    path = desk.folder / f"rows.{ending}"
    with in_place(path, data):
        named = rng.choice([(), (), ("--map", "prompt=question,completion=answer")])
        look = hf_targets.look(desk, rng, path, *named)
        typed(rng.choice([look, look, [*hf_targets.plan(desk, rng, path), *named]]))


BASELINES = (
    b'{"MMLU": 0.31, "ARC-Easy": {"correct": 40, "total": 100}}',
    b'{"results": {"mmlu": {"acc,none": 0.31, "acc_stderr,none": 0.01}}, '
    b'"n-samples": {"mmlu": {"effective": 100}}}',
)


def try_baseline(desk: Desk, rng: random.Random, data: bytes) -> None:
    path = desk.folder / "baseline.json"
    with in_place(path, data):
        typed(("show", str(desk.stopped), "--baseline", str(path), *rng.choice([(), ("--json",)])))


LONG_AGO = 1.7e9
"""Seconds since the epoch; before any test."""


def try_tree(desk: Desk, rng: random.Random, data: bytes) -> None:
    """A run folder in which anything is missing, moved, a folder, a link or a pipe."""
    copy = desk.folder / "tree" / desk.stopped.name
    shutil.rmtree(copy.parent, ignore_errors=True)
    shutil.copytree(desk.stopped, copy, symlinks=True)
    paths = sorted(path for path in copy.rglob("*"))
    for path in rng.sample(paths, rng.choice((1, 1, 2, 5))):
        if not os.path.lexists(path):
            continue
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        match rng.randrange(6):
            case 0:
                path.mkdir(exist_ok=True, parents=True)
            case 1 if path.parent.exists():
                path.symlink_to(rng.choice((desk.folder, copy, path, Path("/dev/zero"), Path("x"))))
            case 2 if path.parent.exists():
                os.mkfifo(path)
            case 3 if path.parent.exists():
                path.write_bytes(data[:1000])
            case 4 if path.parent.exists():
                path.write_bytes(b"")
        if path.is_file() and not path.is_symlink():
            # A run that was asked for within the last half minute is waited for.
            os.utime(path, (LONG_AGO, LONG_AGO))
    original, desk.stopped = desk.stopped, copy
    try:
        typed(rng.choice(looks(desk)))
    finally:
        desk.stopped = original


NOT_A_TERMINAL = "screen"
"""The target that `screen.py` tries: a real screen in a pseudo-terminal."""

TARGETS: dict[str, Target] = {
    "log": Target(logs, read_log, cut=True),
    "events": Target(of_run("events.jsonl", "supervisor.jsonl"), try_events, cut=True),
    "run-files": Target(small_files, file_of_run(*SMALL_FILES)),
    "checkpoint-files": Target(
        of_run("ckpt/*/MANIFEST.json", "ckpt/*/state.json"),
        file_of_run("ckpt/*/MANIFEST.json", "ckpt/*/state.json"),
    ),
    "tensors": Target(of_run("ckpt/*/*.safetensors"), file_of_run("ckpt/*/*.safetensors")),
    "results": Target(results, file_of_run("evals/*.npz")),
    "run-log": Target(of_run("run.log"), file_of_run("run.log", "logs/supervisor.log"), cut=True),
    "run-tree": Target(small_files, try_tree),
    "wire": Target(lines_of_wire, try_wire),
    "requests": Target(requests, try_requests),
    "keys": Target(key_files, try_keys),
    "keyboard": Target(lambda _: [*SEQUENCES, *TOKENS], try_keyboard),
    "tokenizer": Target(
        of_desk("cache/tokenizer/tokenizer.pkl", "runs/*-stopped/tokenizer.json"), try_tokenizer
    ),
    "model": Target(of_desk("cache/mid_checkpoints/*/*"), try_model),
    "config": Target(of_desk("runs/*/config.toml"), try_config),
    "rows": Target(of_desk("data/*.jsonl"), try_rows, cut=True),
    "hf-files": Target(hf_targets.model_files(*hf_targets.TOKENIZER_FILES), try_model_files),
    "hf-adapters": Target(hf_targets.model_files(*hf_targets.ADAPTER_FILES), try_adapters),
    "hf-template": Target(hf_targets.templates, try_template),
    "tables": Target(hf_targets.tables, try_table),
    "trainer-files": Target(foreign_targets.trainer_files, foreign_targets.try_trainer_files),
    "keeper-files": Target(foreign_targets.keeper_files, foreign_targets.try_keeper_files),
    "packed-rows": Target(foreign_targets.plans, foreign_targets.try_plan),
    "hints": Target(lambda _: list(foreign_targets.HINTS), foreign_targets.try_hints),
    "exported": Target(logs, foreign_targets.try_exported, cut=True),
    "baseline": Target(lambda _: list(BASELINES), try_baseline),
    "answers": Target(lambda _: list(answer_targets.ANSWERS), answer_targets.try_answer),
}


class Tried:
    """A target with its place and its real inputs, ready to be tried in this process."""

    def __init__(self, name: str, folder: Path, seed: int) -> None:
        self.name, self.seed = name, seed
        self.target = TARGETS[name]
        self.desk = Desk(folder)
        for path in folder.rglob("*.json"):
            os.utime(path, OLD)
        for variable in ("NANOCHAT_BASE_DIR", "SFTUI_RUNS", "SFTUI_CONFIG", "HOME"):
            os.environ[variable] = self.desk.env[variable]
        os.chdir(folder)
        # Without the name of this folder, which is another one the next time.
        self._here = str(folder).encode()
        found = self.target.seeds(self.desk)
        self.seeds = [seed.replace(self._here, PLACEHOLDER) for seed in found]

    def input(self, number: int) -> tuple[random.Random, bytes]:
        """The input of a number, and what decides about its use: the same every time."""
        rng = random.Random(f"{self.name}/{self.seed}/{number}")
        made = mutated(rng, self.seeds, self.target.cut)
        return rng, made.replace(PLACEHOLDER, self._here)

    def try_number(self, number: int) -> None:
        """Try one input.

        Raises:
            Exception: a finding.
        """
        sys.setrecursionlimit(1000)
        self.target.try_one(self.desk, *self.input(number))
