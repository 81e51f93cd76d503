"""Memory per rank: the torch allocator on CUDA, resident memory on CPU, and said which."""

from __future__ import annotations

from sftui import format as fmt
from sftui.canvas import Grid, Span, fit, text_width
from sftui.clean import clean
from sftui.ink import Ink, style
from sftui.panel import Panel
from sftui.records import Rank, Topic

SILENT_SECONDS = 10.0
"""Heartbeats come every second; ten missing ones are worth a word."""
TIGHT = 0.9
"""Part of the memory from which the bar is amber."""


class RankTable(Panel):
    """One bar a rank, with a line of detail while there is room."""

    TOPICS = Topic.RANKS | Topic.RUN
    can_focus = True

    @property
    def ticking(self) -> bool:
        return not self.state.ended

    def paint(self, grid: Grid) -> None:
        ranks = sorted(self.state.ranks.items())
        kind = {rank.last.memory_kind for _, rank in ranks}
        title: list[Span] = [("memory", style(Ink.TITLE, bold=True))]
        if kind:
            words = {"cuda": " allocated by torch", "resident": " resident, per process"}
            known = [words.get(k, f" {clean(k, 20)}") for k in sorted(kind)]
            title.append((" ·" + " ·".join(known), style(Ink.DIM)))
        names = {clean(rank.last.device_name or "", 40) for _, rank in ranks} - {""}
        corner: list[Span] = [(names.pop(), style(Ink.DIM))] if len(names) == 1 else []
        rows = grid.height - 2
        two_lines = rows >= 2 * len(ranks)
        room = rows // 2 if two_lines else rows
        left_out = len(ranks) - room
        notes: list[Span] = [(f"{left_out} more ranks", style(Ink.FAINT))] if left_out > 0 else []
        grid.frame(title, notes, border=self.border, corner=corner)
        if not ranks:
            grid.text(1, 2, fit("no rank has spoken yet", grid.width - 4), style(Ink.FAINT))
            return
        row = 1
        for number, rank in ranks[: max(0, room)]:
            self._bar(grid, row, number, rank)
            row += 1
            if two_lines:
                if rank.lost is None:
                    self._detail(grid, row, rank)
                row += 1

    def _bar(self, grid: Grid, row: int, number: int, rank: Rank) -> None:
        last, end = rank.last, grid.width - 2
        col = grid.text(row, 2, f"rank {number:<2}", style(Ink.DIM)) + 1
        trouble = self._trouble(rank)
        if trouble:
            grid.text(row, col, fit(trouble, end - col), style(Ink.BAD, bold=True))
            return
        used, total = last.memory_bytes, last.memory_total_bytes
        words = fmt.size_of(used, total)
        end = grid.right(row, end, [(words, style(Ink.TEXT, bold=True))], col) - 1
        if used is not None and total:
            # On a GPU the reserved part is what other programs cannot have.
            fraction = max(used, last.memory_reserved_bytes or 0) / total
            ink = style(Ink.WARN if fraction > TIGHT else Ink.TRAIN)
            grid.bar(row, col, end, fraction, ink, style(Ink.TROUGH))

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
            col = grid.text(row, col, piece, style(Ink.FAINT))

    def _trouble(self, rank: Rank) -> str:
        if rank.lost is not None:
            return f"✗ lost: {clean(rank.lost, 200)}"
        spoke = rank.last.stamp.t
        if self.state.ended or spoke is None:
            return ""
        silent = self.view.now() - spoke
        return f"▲ silent for {fmt.duration(silent)}" if silent > SILENT_SECONDS else ""
