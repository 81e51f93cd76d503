"""Memory per rank: the torch allocator on CUDA, resident memory on CPU, and said which."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sftui.drawing.canvas import Grid, Span, fit, ratchet, sparkline, text_width
from sftui.drawing.roles import Role, style
from sftui.state.records import Rank, Topic
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.widgets.panel import Panel

SILENT_SECONDS = 10.0
"""Heartbeats come every second; ten missing ones are worth a word."""
_FULL = 6
"""Lines of a rank with everything: bar, up to three of facts, two curves."""
TIGHT = 0.9
"""Part of the memory from which the bar is amber."""


class RankTable(Panel):
    """One bar a rank, with a line of detail while there is room."""

    TOPICS = Topic.RANKS | Topic.RUN
    can_focus = True

    @property
    def clock(self) -> tuple[str, ...]:
        """Seconds since each silent rank was last heard of."""
        return tuple(map(self._trouble, self.state.ranks.values()))

    def paint(self, grid: Grid) -> None:
        ranks = sorted(self.state.ranks.items())
        kind = {rank.last.memory_kind for _, rank in ranks}
        title: list[Span] = [("memory", style(Role.TITLE, bold=True))]
        if kind:
            words = {"cuda": " allocated by torch", "resident": " resident, per process"}
            known = [words.get(k, f" {clean(k, 20)}") for k in sorted(kind)]
            title.append((" ·" + " ·".join(known), style(Role.DIM)))
        names = {clean(rank.last.device_name or "", 40) for _, rank in ranks} - {""}
        corner: list[Span] = [(names.pop(), style(Role.DIM))] if len(names) == 1 else []
        rows = grid.height - 2
        lines = next((n for n in (_FULL, 3, 2) if rows >= n * len(ranks)), 1)
        room = rows // lines
        left_out = len(ranks) - room
        notes: list[Span] = []
        if ranks and left_out > 0:
            notes = [(f"{left_out} more ranks, fullest {_fullest(ranks)}", style(Role.FAINT))]
            ranks = self._of_note(ranks, max(0, room))
        if lines >= 3 and ranks:
            notes = [("curves: the whole run", style(Role.FAINT))]
        grid.frame(title, notes, border=self.border, corner=corner)
        if not ranks:
            none = "no rank has spoken yet"
            if self.view.replay is not None:
                none = "no memory figures in this log so far"
            elif self.state.run is not None and self.state.run.is_followed:
                none = "not known of a command that is only followed"
            grid.text(1, 2, fit(none, grid.width - 4), style(Role.FAINT))
            return
        for i, (number, rank) in enumerate(ranks):
            row = 1 + i * lines
            self._bar(grid, row, number, rank)
            if rank.lost is not None:
                continue
            if lines == _FULL:
                self._full(grid, row + 1, rank)
            elif lines >= 2:
                self._detail(grid, row + 1, rank)
                if lines == 3:
                    self._course(grid, row + 2, "memory", rank, "memory_bytes")

    def _of_note(self, ranks: list[tuple[int, Rank]], room: int) -> list[tuple[int, Rank]]:
        """As many as there is room for, in their order: those that are lost or silent, then the
        first ones, so that no row moves while nothing is wrong."""
        chosen = sorted(ranks, key=lambda each: not self._trouble(each[1]))[:room]
        return sorted(chosen, key=lambda each: each[0])

    def _full(self, grid: Grid, row: int, rank: Rank) -> None:
        """Everything there is to know, what the driver does not say as N/A."""
        last = rank.last
        if last.memory_kind == "cuda":
            power = _or_none(last.gpu_power_watts, "{:.0f} W")
            if last.gpu_power_watts is not None and last.gpu_power_limit_watts:
                power = f"{last.gpu_power_watts:.0f}/{last.gpu_power_limit_watts:.0f} W"
            facts = [
                ("allocated", _size(last.memory_bytes)),
                ("reserved", _size(last.memory_reserved_bytes)),
                ("peak", _size(last.memory_peak_bytes)),
                ("of", _size(last.memory_total_bytes)),
                ("other programs", _size(last.gpu_others_bytes)),
                ("load", _or_none(last.gpu_util_percent, "{:.0f}%")),
                ("power", power),
                ("heat", _or_none(last.gpu_temperature_celsius, "{:.0f}°C")),
                ("retries", _or_none(last.alloc_retries, "{}")),
            ]
        else:
            facts = [
                ("resident", _size(last.memory_bytes)),
                ("peak", _size(last.memory_peak_bytes)),
                ("machine", _size(last.memory_total_bytes)),
                ("cpu", _or_none(last.cpu_percent, "{:.0f}%")),
            ]
        facts += [
            ("step", _or_none(last.step_seconds, "{}", fmt.duration)),
            ("disk free", _size(last.disk_free_bytes)),
            ("pid", _or_none(last.pid, "{}")),
            ("host", clean(last.host, 40) or "N/A"),
        ]
        col, start, end = 10, row, grid.width - 2
        for name, value in facts:
            cells = text_width(name) + 1 + text_width(value)
            if col > 10 and col + cells > end:
                row, col = row + 1, 10
            if row >= start + 3:
                break
            col = grid.text(row, col, f"{name} ", style(Role.FAINT), end)
            number = style(Role.FAINT if value == "N/A" else Role.TEXT)
            col = grid.text(row, col, value, number, end) + 3
        self._course(grid, row + 1, "memory", rank, "memory_bytes")
        self._course(grid, row + 2, "load", rank, "load")

    def _course(self, grid: Grid, row: int, name: str, rank: Rank, column: str) -> None:
        """The whole history in one line between its lowest and highest value, which it names."""
        cells = grid.width - 12
        grid.text(row, 10 - text_width(name) - 1, name, style(Role.FAINT))
        series = rank.memory.series(column)
        if cells < 4 or series.empty:
            grid.text(row, 10, fit("N/A", cells), style(Role.FAINT))
            return
        low, top = (float(extreme(series.y)) for extreme in (np.nanmin, np.nanmax))
        words = f"{low:.0f}-{top:.0f}%"
        if column == "memory_bytes":
            words = f"{fmt.size(low)}-{fmt.size(top)}"
        if cells > text_width(words) + 20:
            grid.right(row, grid.width - 2, [(words, style(Role.FAINT))], 10)
            cells -= text_width(words) + 2
        x = series.x
        span = max(60.0, ratchet(float(x[-1] - x[0]) + 1))
        _, high = series.columns(float(x[0]), float(x[0]) + span, cells)
        # A rank speaks once a second or so; a cell without a word repeats the one before.
        known = np.flatnonzero(np.isfinite(high))
        held = np.maximum.accumulate(np.where(np.isfinite(high), np.arange(cells), known[0]))
        values = high[held][: known[-1] + 1]
        role = style(Role.TRAIN if column == "memory_bytes" else Role.THIRD)
        grid.text(row, 10, sparkline(values, cells), role)

    def _bar(self, grid: Grid, row: int, number: int, rank: Rank) -> None:
        last, end = rank.last, grid.width - 2
        col = grid.text(row, 2, f"rank {number:<2}", style(Role.DIM)) + 1
        trouble = self._trouble(rank)
        if trouble:
            grid.text(row, col, fit(trouble, end - col), style(Role.BAD, bold=True))
            return
        used, total = last.memory_bytes, last.memory_total_bytes
        words = fmt.size_of(used, total)
        end = grid.right(row, end, [(words, style(Role.TEXT, bold=True))], col) - 1
        if used is not None and total:
            # On a GPU the reserved part is what other programs cannot have.
            fraction = max(used, last.memory_reserved_bytes or 0) / total
            role = style(Role.WARN if fraction > TIGHT else Role.TRAIN)
            grid.bar(row, col, end, fraction, role, style(Role.TROUGH))

    def _detail(self, grid: Grid, row: int, rank: Rank) -> None:
        last = rank.last
        facts: list[str] = []
        if last.cpu_percent is not None:
            facts.append(f"cpu {last.cpu_percent:.0f}%")
        if last.gpu_util_percent is not None:
            facts.append(f"util {last.gpu_util_percent:.0f}%")
        if last.memory_peak_bytes is not None:
            facts.append(f"peak {fmt.size(last.memory_peak_bytes)}")
        if last.memory_reserved_bytes is not None:
            facts.append(f"reserved {fmt.size(last.memory_reserved_bytes)}")
        if last.gpu_power_watts is not None:
            limit = last.gpu_power_limit_watts
            facts.append(f"{last.gpu_power_watts:.0f}{f'/{limit:.0f}' if limit else ''}W")
        if last.gpu_temperature_celsius is not None:
            facts.append(f"{last.gpu_temperature_celsius:.0f}°C")
        if last.step_seconds is not None:
            facts.append(f"step {fmt.duration(last.step_seconds)}")
        if last.gpu_others_bytes:
            facts.append(f"others {fmt.size(last.gpu_others_bytes)}")
        if last.pid is not None:
            facts.append(f"pid {last.pid}")
        col, end = 10, grid.width - 2
        for i, fact in enumerate(facts):
            piece = fact if i == 0 else f" · {fact}"
            if col + text_width(piece) > end:
                break
            col = grid.text(row, col, piece, style(Role.FAINT))

    def _trouble(self, rank: Rank) -> str:
        if rank.lost is not None:
            return f"✗ lost: {clean(rank.lost, 200)}"
        spoke = rank.last.stamp.t
        if self.state.ended or spoke is None:
            return ""
        silent = self.view.now() - spoke
        return f"▲ silent for {fmt.duration(silent)}" if silent > SILENT_SECONDS else ""


def _size(num_bytes: int | None) -> str:
    return "N/A" if num_bytes is None else fmt.size(num_bytes)


def _or_none(value: Any, form: str, words: Callable[[Any], str] | None = None) -> str:
    """The value in words; N/A when the machine did not say."""
    if value is None:
        return "N/A"
    return form.format(words(value) if words else value)


def _fullest(ranks: list[tuple[int, Rank]]) -> str:
    """`0.91/16G`: of the rank with the least memory left, as a share of its own."""
    last = max(
        (rank.last for _, rank in ranks),
        key=lambda beat: (beat.memory_bytes or 0) / (beat.memory_total_bytes or math.inf),
    )
    return fmt.size_of(last.memory_bytes, last.memory_total_bytes)
