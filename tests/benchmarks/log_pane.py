"""How a long log opens in the log pane: `python tests/benchmarks/log_pane.py [--megabytes 1000]`.

Writes a text log of another program and a journal of ours of that size into a temporary
folder, then prints for each: time until the pane's first picture, until a picture in the
middle, until index and search are done, the slowest picture while they work, and memory.
A plain count of the file's line ends in the same run says what the disk and this machine give.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine import events as ev
from engine.journal import wire
from sftui.drawing.canvas import Grid
from sftui.logbook.log_book import LogBook
from sftui.state.run_state import RunState
from sftui.view.view import View
from sftui.widgets.log_pane import LogPane
from tests.benchmarks.readers import SFT

ROWS, COLUMNS = 40, 160
NEEDLE = "needle in the log"
SPARSE = 50_000
"""Lines between two that are looked for."""


def text_log(path: Path, megabytes: int) -> int:
    """Training lines with a needle now and then; the number of needles."""
    wanted, size, step, needles = megabytes * 2**20, 0, 0, 0
    with path.open("wb") as file:
        while size < wanted:
            lines = []
            for _ in range(SPARSE):
                step += 1
                lines.append(SFT.format(step, 10**7, 1.2345, 0.5, step + 1000))
            lines.append(f"warning: {NEEDLE} {needles}\n")
            needles += 1
            size += file.write("".join(lines).encode())
    return needles


def journal(path: Path, megabytes: int) -> int:
    """Updates, a log line after every ten of them, a needle now and then."""
    wanted, size, seq, needles = megabytes * 2**20, 0, 0, 0
    step = ev.StepFinished(
        step=1, loss=1.2345, loss_rows_mean=1.25, lr_mult=0.5, grad_norm=0.75, tokens=5000,
        lrs={"wte": 0.01, "matrices": 0.02}, supervised_tokens=2500, seconds=0.41,
    )  # fmt: skip
    line = ev.LogLine(text="a line of the trainer, as long as they are")

    def stamped(event: ev.Event, number: int) -> bytes:
        stamp = ev.Stamp(run="bench", seq=1, t=1.76e9, m=100.0, boot="boot")
        data = wire.encode(type(event)(**{**_fields(event), "stamp": stamp}))
        return data.replace(b'"seq":1,', b'"seq":%d,' % number, 1)

    steps = stamped(step, 1)
    lines = stamped(line, 1)
    with path.open("wb") as file:
        while size < wanted:
            block = []
            for i in range(SPARSE):
                seq += 1
                block.append(
                    (lines if i % 11 == 10 else steps).replace(b'"seq":1,', b'"seq":%d,' % seq, 1)
                )
            seq += 1
            block.append(stamped(ev.LogLine(text=f"{NEEDLE} {needles}", level="warn"), seq))
            needles += 1
            size += file.write(b"".join(block))
    return needles


def _fields(event: ev.Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in type(event).__dataclass_fields__}


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


class Pane:
    """The pane without an app: what it costs to draw."""

    def __init__(self, book: LogBook, state: RunState) -> None:
        self.book, self.state = book, state
        self.pane = LogPane(state, View(now=lambda: 0.0, log=book), id="log")
        self.slowest = 0.0
        self.most_bytes = 0

    def draw(self) -> float:
        start = time.perf_counter()
        self.pane.paint(Grid(ROWS, COLUMNS))
        spent = time.perf_counter() - start
        self.slowest = max(self.slowest, spent)
        self.most_bytes = max(self.most_bytes, resident_bytes())
        return spent

    def until_idle(self) -> float:
        """Tick as the screen does, until no thread works; seconds."""
        start = time.perf_counter()
        while True:
            self.book.work(self.state)
            self.draw()
            if not self.book.busy:
                self.book.work(self.state)
                if not self.book.busy:
                    return time.perf_counter() - start
            time.sleep(0.1)


def measure(what: str, path: Path, needles: int, *, text: bool) -> None:
    start = time.perf_counter()
    with path.open("rb") as file:
        num_lines = sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
    plain = time.perf_counter() - start
    state = RunState()
    if not text:
        # As a screen that has read it all: the newest entries are in memory.
        for i in range(6000):
            state.apply(ev.LogLine(text=f"newest {i}", stamp=ev.Stamp(seq=10**12 + i)))
    before = resident_bytes()
    book = LogBook(None, path) if text else LogBook(path)
    if text:
        while book.name != "file":
            book.next_filter(state)
    pane = Pane(book, state)
    first = pane.draw()
    start = time.perf_counter()
    book.scroll(state, -10_000)
    middle = pane.draw() + time.perf_counter() - start
    indexed = pane.until_idle()
    book.begin_search(state)
    book.type(state, NEEDLE)
    book.accept(state)
    searched = pane.until_idle()
    found = book.content.matches(state).count
    assert found == needles, (found, needles)
    start = time.perf_counter()
    while book.step(state, -1):
        pass
    jump = (time.perf_counter() - start) / needles + pane.draw()
    book.to_start(state)
    oldest = pane.draw()
    grown = pane.most_bytes - before
    indexed_file: Any = (
        book._file_log._file if book._file_log is not None else book._event_log._rows
    )
    index = indexed_file.num_bytes
    print(f"{what}: {path.stat().st_size / 2**20:,.0f} MiB, {num_lines:,} lines")
    print(f"  plain count of its line ends {plain:8.2f} s")
    print(f"  first picture of the pane    {first * 1e3:8.1f} ms")
    print(f"  10,000 lines further back    {middle * 1e3:8.1f} ms")
    print(f"  index done                   {indexed:8.2f} s    {indexed / plain:5.1f} x the count")
    print(
        f"  search done                  {searched:8.2f} s    {searched / plain:5.1f} x the count"
    )
    print(f"  to the next match            {jump * 1e3:8.1f} ms")
    print(f"  the oldest lines             {oldest * 1e3:8.1f} ms")
    print(f"  slowest picture meanwhile    {pane.slowest * 1e3:8.1f} ms")
    print(
        f"  index {index / 2**20:.2f} MiB; resident memory grew by at most {grown / 2**20:.0f} MiB"
    )
    book.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=200, help="size of each log (200)")
    megabytes = parser.parse_args().megabytes
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.log"
        measure("text log", path, text_log(path, megabytes), text=True)
        path.unlink()
        path = Path(folder) / "events.jsonl"
        measure("journal", path, journal(path, megabytes), text=False)


if __name__ == "__main__":
    main()
