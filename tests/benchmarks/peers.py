"""The viewers beside each other: twenty series of 100,000 points, each program with its own format.

    python tests/benchmarks/peers.py --leet PATH --tlog PATH [--rounds 3] [--data DIR] [--write]

Runs the bench of the reference folder (`../shared/peers_bench`, which says what each number means)
over an empty Textual app, `sftui replay` with five formats, `wandb leet` and `tlog watch`, one
after the other, so many rounds. Prints a table of the medians, with ratios that were taken within
each round, and what a target is missed by. `--write` keeps the figures in `peers.json` beside this
file, and writes the table of `docs/logs.md` anew from there.

`--data DIR` keeps the files (some 500 MB) for the next time. They are made by the generators of the
bench: those of wandb and tlog by the Python that lies beside the program, as in an environment
with `pip install wandb google-crc32c` and one with `pip install tlog`. A program that is not named
is left out, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.long_files import FORMATS, EveryRow

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT.parent / "shared" / "peers_bench"
FIGURES = Path(__file__).with_suffix(".json")
SERIES = 20
EMPTY, LEET, TLOG = "an empty Textual app", "`wandb leet`, wandb", "`tlog watch`, its own file"
OURS = {
    "csv": "sftui, CSV",
    "tensorboard": "sftui, TensorBoard",
    "jsonl": "sftui, JSON lines",
    "text": "sftui, text",
    "wandb": "sftui, wandb",
}
ORDER = (EMPTY, *list(OURS.values())[:4], TLOG, OURS["wandb"], LEET)
PEER = {name: LEET if kind == "wandb" else TLOG for kind, name in OURS.items()}
"""Whom a format is not to be slower than, where the target of `all` cannot be had."""
FIRST, ALL_SECONDS, MEMORY_MIB, IDLE_MORE = 1.8, 3.5, 150.0, 0.2
"""Targets: first curve in starts of an empty app, all, MiB, % of a core above an empty app's."""
MOST_SECONDS = 150
"""A program that is not done by then has failed."""

Row = Mapping[str, Any]
"""What the bench prints of one run: `t_first`, `t_full`, `cpu_load`, `rss`, `idle`, `calib`, ..."""
Round = Mapping[str, Row]
"""The rows of one round by program."""


@dataclass(frozen=True, slots=True)
class Program:
    """One line of the table."""

    name: str
    words: Sequence[str]
    ready: str = "loss"
    """A pattern of what is on the screen with the first curve."""


# ---- the files ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Files:
    """The same numbers in every format, under one folder."""

    folder: Path
    points: int

    def make(self, leet: Path | None, tlog: Path | None) -> None:
        """Write what is not there yet."""
        self._make("text", sys.executable)
        if leet is not None:
            self._make("wandb", str(leet.with_name("python")))
            self._make("tb", str(leet.with_name("python")))
        else:
            for kind, name in (("wandb", "wandb"), ("tensorboard", "tb")):
                if not (self.folder / name).exists():
                    (self.folder / name).mkdir()
                    EveryRow(self.folder / name, kind, self.points)
        if tlog is not None:
            self._make("tlog", str(tlog.with_name("python")))

    def _make(self, name: str, python: str) -> None:
        target = self.folder / name
        if target.exists():
            return
        print(f"writing {target} ...", flush=True)
        words = [python, str(BENCH / f"gen_{name}.py"), str(target), str(self.points), str(SERIES)]
        subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": str(BENCH)})

    def of(self, kind: str) -> Path:
        """The file of a format of ours."""
        folder = self.folder / {"wandb": "wandb", "tensorboard": "tb"}.get(kind, "text")
        pattern = {
            "csv": "**/metrics.csv",
            "jsonl": "metrics.jsonl",
            "text": "run.log",
            "tensorboard": "**/*tfevents*",
            "wandb": "**/run-*.wandb",
        }[kind]
        return next(path for path in sorted(folder.glob(pattern)) if not path.is_symlink())


def programs(files: Files, leet: Path | None, tlog: Path | None) -> Iterator[Program]:
    """Those that are there, in the order in which a round runs them."""
    yield Program(EMPTY, [sys.executable, str(BENCH / "textual_floor.py")])
    for kind in ("csv", "tensorboard"):
        yield ours(kind, files.of(kind))
    if tlog is not None:
        words = (
            f"cd {shlex.quote(str(files.folder / 'tlog'))} && exec {shlex.quote(str(tlog))} watch"
        )
        yield Program(TLOG, ["bash", "-c", words], "train/|eval/")
    for kind in ("jsonl", "text"):
        yield ours(kind, files.of(kind))
    if leet is not None:
        folder = files.of("wandb").parents[1]
        yield Program(LEET, [str(leet), "leet", str(folder)], "(train|eval|sys|opt)/")
    yield ours("wandb", files.of("wandb"))


def ours(kind: str, log: Path) -> Program:
    return Program(OURS[kind], [sys.executable, "-m", "sftui", "replay", str(log)])


# ---- the runs ----------------------------------------------------------------------------------


def measure(program: Program, home: Path, idle: float) -> Row:
    """One run of a program under the bench."""
    words = [sys.executable, str(BENCH / "bench_tui.py"), "--runs", "1", "--idle", str(idle)]
    words += ["--home", str(home), "--timeout", str(MOST_SECONDS)]
    words += ["--name", program.name, "--ready", program.ready]
    for name, value in {
        "PYTHONPATH": ROOT,
        "SFTUI_CONFIG": home / "config.toml",
        "PYTHONDONTWRITEBYTECODE": "",  # an installed program has its byte code
        "OMP_NUM_THREADS": 1,
    }.items():
        words += ["--env", f"{name}={value}"]
    done = subprocess.run([*words, "--", *program.words], capture_output=True, text=True)
    if done.returncode or not done.stdout:
        return {"error": done.stderr[-500:]}
    found: Row = json.loads(done.stdout.splitlines()[0])
    return found


def warm(home: Path) -> None:
    """Start each program of ours once over a short log: its byte code is there then."""
    with tempfile.TemporaryDirectory() as name:
        measure(Program(EMPTY, [sys.executable, str(BENCH / "textual_floor.py")]), home, 0)
        for kind in FORMATS:
            measure(ours(kind, EveryRow(Path(name), kind, 200).target), home, 0)


def run(wanted: Sequence[Program], rounds: int, idle: float) -> list[Round]:
    """All programs, one after the other, so many times."""
    found: list[Round] = []
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        warm(home)
        for number in range(rounds):
            rows: dict[str, Row] = {}
            for program in wanted:
                rows[program.name] = row = measure(program, home, idle)
                said = {k: row[k] for k in ("t_first", "t_full", "cpu_load", "rss", "idle", "calib")
                        if k in row} or row  # fmt: skip
                print(f"{number + 1}/{rounds} {program.name}: {said}", flush=True)
            found.append(rows)
    return found


# ---- the table ---------------------------------------------------------------------------------


def middle(rounds: Sequence[Round], name: str, what: str) -> float | None:
    """The median over the rounds in which the program came to its end."""
    values = [rows[name][what] for rows in rounds if what in rows.get(name, {})]
    return statistics.median(values) if values else None


def ratio(rounds: Sequence[Round], name: str, what: str, other: str, than: str) -> float | None:
    """The median of ratios, each of two runs of one round."""
    values = [
        rows[name][what] / rows[other][than]
        for rows in rounds
        if what in rows.get(name, {}) and rows.get(other, {}).get(than)
    ]
    return statistics.median(values) if values else None


def shown(value: float | None, form: str = ".1f") -> str:
    return "" if value is None else format(value, form)


def rows_of(rounds: Sequence[Round]) -> list[list[str]]:
    """A row of the table for each program that ran."""
    out = []
    for name in (name for name in ORDER if any(name in rows for rows in rounds)):
        first = shown(middle(rounds, name, "t_first"))
        starts = ratio(rounds, name, "t_first", EMPTY, "t_first")
        whole = shown(middle(rounds, name, "t_full")) if name != EMPTY else ""
        peer = PEER.get(name)
        than = ratio(rounds, name, "t_full", peer, "t_full") if peer is not None else None
        beside = f"{than:.2f} x {'leet' if peer == LEET else 'tlog'}" if than is not None else ""
        cost = (middle(rounds, name, what) for what in ("cpu_load", "rss", "idle"))
        forms = zip(cost, (".1f", ".0f", ".1f"), strict=True)
        starts_shown = "" if name == EMPTY else shown(starts)
        out.append([name, first, starts_shown, whole, beside, *(shown(*each) for each in forms)])
    return out


HEAD = (
    "",
    "first curve, s",
    "x empty app",
    "all of it, s",
    "beside the peer",
    "CPU, s",
    "MiB",
    "% of a core in the 8 s after",
)


def missed(rounds: Sequence[Round]) -> list[str]:
    """Each target that is missed, by how much."""
    out = []
    idle_empty = middle(rounds, EMPTY, "idle") or 0.0
    for name in OURS.values():
        starts = ratio(rounds, name, "t_first", EMPTY, "t_first")
        whole, memory = middle(rounds, name, "t_full"), middle(rounds, name, "rss")
        than = ratio(rounds, name, "t_full", PEER[name], "t_full")
        idle = middle(rounds, name, "idle")
        if starts is not None and starts > FIRST:
            out.append(f"{name}: first curve {starts:.2f} x an empty app (target {FIRST})")
        if whole is not None and whole > ALL_SECONDS and (than is None or than > 1.0):
            out.append(f"{name}: all in {whole:.1f} s (target {ALL_SECONDS}, else its peer's)")
        if memory is not None and memory > MEMORY_MIB:
            out.append(f"{name}: {memory:.0f} MiB (target {MEMORY_MIB:g})")
        if idle is not None and idle > idle_empty + IDLE_MORE:
            out.append(
                f"{name}: {idle:.1f} % of a core in the 8 s after, an empty app {idle_empty:.1f}"
            )
    return out


def markdown(figures: Path = FIGURES) -> str:
    """What stands in `docs/logs.md`."""
    kept = json.loads(figures.read_text(encoding="utf-8"))
    rounds: list[Round] = kept["rounds"]
    lines = ["| " + " | ".join(row) + " |" for row in (HEAD, ["---"] * len(HEAD), *rows_of(rounds))]
    calib = [row["calib"] for rows in rounds for row in rows.values() if "calib" in row]
    speed = f"{min(calib) / 1000:.2f} to {max(calib) / 1000:.2f} s" if calib else "unknown"
    said = [
        "",
        f"{_count(len(rounds))} of {SERIES} series x {kept['points']:,} points, each "
        f"program in a terminal of 160x48, one after the other on {kept['cores']} cores; ratios "
        f"are taken within a round. A fixed loop took {speed} beside them.",
        "",
    ]
    misses = missed(rounds)
    said += ["Targets missed:", "", *(f"- {words}" for words in misses)] if misses else [
        "No target is missed."
    ]  # fmt: skip
    return "\n".join([*lines, *said])


def _count(rounds: int) -> str:
    return "One round" if rounds == 1 else f"Medians of {rounds} rounds"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--leet", type=Path, metavar="PATH", help="the `wandb` program")
    parser.add_argument("--tlog", type=Path, metavar="PATH", help="the `tlog` program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--points", type=int, default=100_000, help="of each of the 20 series")
    parser.add_argument("--idle", type=float, default=8.0, help="seconds that are watched after")
    parser.add_argument("--data", type=Path, help="where the files are kept (else made anew)")
    parser.add_argument("--write", action="store_true", help="keep the figures, and the docs table")
    options = parser.parse_args()
    if not BENCH.is_dir():
        print(f"{BENCH} is not there: it is the bench that runs the programs.")
        return 2
    paths: list[Path | None] = []
    for flag, path in (("--leet", options.leet), ("--tlog", options.tlog)):
        if path is None:
            print(f"without {flag} PATH, that program is left out")
        elif not path.is_file():
            print(f"{flag} {path}: there is no such program")
            return 2
        paths.append(path and path.absolute())
    leet, tlog = paths
    with tempfile.TemporaryDirectory() as name:
        folder = (options.data or Path(name)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        files = Files(folder, options.points)
        files.make(leet, tlog)
        rounds = run(list(programs(files, leet, tlog)), options.rounds, options.idle)
    figures = FIGURES if options.write else Path(tempfile.gettempdir()) / FIGURES.name
    kept = {"points": options.points, "cores": os.cpu_count(), "rounds": rounds}
    figures.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(f"\n{markdown(figures)}\n\nfigures: {figures}")
    if options.write:
        from tests.docs_check import write_tables

        write_tables(ROOT)
        print("docs/logs.md has this table")
    return 0


if __name__ == "__main__":
    sys.exit(main())
