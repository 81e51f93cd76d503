"""The table of viewers beside each other says what was measured, and what is missed by how much."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks import peers

SLOW, QUICK = 2.0, 1.0


def a_round(machine: float, *, text: float = 3.9) -> peers.Round:
    """One round on a machine that is so many times slower than another."""
    return {
        peers.EMPTY: row(machine, first=0.5, whole=0.5, idle=0.1),
        peers.OURS["csv"]: row(machine, first=0.8, whole=3.0, idle=0.2),
        peers.OURS["text"]: row(machine, first=1.0, whole=text, idle=2.9),
        peers.OURS["wandb"]: {"error": "no curve in 150 s"},
        peers.TLOG: row(machine, first=3.8, whole=3.8, idle=30),
    }


def row(machine: float, *, first: float, whole: float, idle: float) -> peers.Row:
    times = {"t_first": first * machine, "t_full": whole * machine, "cpu_load": whole * machine}
    return {**times, "rss": 100.0, "idle": idle, "calib": 100 * machine}


def test_ratios_are_those_of_one_round_however_busy_the_machine_was(tmp_path: Path) -> None:
    rounds = [a_round(QUICK), a_round(SLOW), a_round(SLOW)]
    table = {line[0]: line for line in peers.rows_of(rounds)}
    assert table[peers.OURS["csv"]][2:5] == ["1.6", "6.0", "0.79 x tlog"]
    assert table[peers.OURS["wandb"]][1:] == [""] * 7, "it failed in every round"
    figures = tmp_path / "peers.json"
    figures.write_text(json.dumps({"points": 100_000, "cores": 2, "rounds": rounds}))
    assert "A fixed loop took 0.10 to 0.20 s" in peers.markdown(figures)


def test_a_target_that_is_missed_is_named_with_its_figure() -> None:
    """`all` counts as met where the peer takes as long on its own file."""
    words = peers.missed([a_round(QUICK)])
    assert words == [
        "sftui, text: first curve 2.00 x an empty app (target 1.8)",
        "sftui, text: all in 3.9 s (target 3.5, else its peer's)",
        "sftui, text: 2.9 % of a core in the 8 s after, an empty app 0.1",
    ]
    assert not any("all in" in word for word in peers.missed([a_round(QUICK, text=3.7)]))
