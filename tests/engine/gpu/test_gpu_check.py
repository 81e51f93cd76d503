"""Every check of `make gpu-check` can fail, and the way through all fifteen is walked on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.model.nanochat.attention import packed_attention
from tests.gpu_check import __main__ as command
from tests.gpu_check import (
    attention_checks,
    box,
    compile_checks,
    parity_checks,
    report,
    run_checks,
    speed_checks,
)
from tests.gpu_check.bench import TOY, Bench
from tests.gpu_check.good import BAD, GOOD

HOME = Path(__file__).resolve().parents[3]
CHECKS = {
    check.id: check
    for module in (box, attention_checks, compile_checks, parity_checks, speed_checks, run_checks)
    for check in module.CHECKS
}


def test_there_are_fifteen_and_the_order_names_each_once() -> None:
    """As the specification has them."""
    assert sorted(CHECKS) == sorted(command.ORDER) == list(range(1, 16))


@pytest.mark.parametrize("number", sorted(CHECKS))
def test_good_numbers_pass(number: int) -> None:
    """And their line in the table is made of them."""
    check = CHECKS[number]
    assert check.judge(GOOD[number]) == []
    row = report.Row(check, "ok", GOOD[number], "", 1.0)
    assert check.name in row.line()
    assert check.told.partition("{")[0] in row.line()


@pytest.mark.parametrize(("number", "change"), BAD)
def test_bad_numbers_fail(number: int, change: dict[str, Any]) -> None:
    """Each way alone, with a sentence; NaN never passes."""
    faults = CHECKS[number].judge(GOOD[number] | change)
    assert len(faults) >= 1
    assert all(len(fault) > 10 for fault in faults)


def test_every_check_that_is_judged_has_a_way_to_fail() -> None:
    """A check that cannot fail is no check; the ceilings alone are for reading."""
    assert {number for number, _ in BAD} == {n for n, check in CHECKS.items() if not check.info}
    missing = GOOD[11] | {}
    del missing["gpu_power_watts"]
    assert "gpu_power_watts" in CHECKS[11].judge(missing)[0]


@pytest.mark.parametrize(
    ("raises", "verdict"),
    [(None, "ok"), (report.Skipped("needs 2 GPUs"), "skipped"), (ValueError("broken"), "fail")],
)
def test_whatever_a_check_does_the_others_go_on(raises: Exception | None, verdict: str) -> None:
    """Its error is its verdict, and the exit code tells."""

    def measure(_bench: Bench) -> dict[str, Any]:
        if raises is not None:
            raise raises
        return {"n": 1}

    check = report.Check(1, "one", measure, lambda _found: [], told="{n}")
    row = report.run_one(check, Bench(torch.device("cpu")), 1)
    assert row.verdict == verdict
    assert report.exit_code([row]) == (verdict == "fail")


def test_two_cards_are_needed_for_two_ranks() -> None:
    """With one it is skipped, and never ok."""
    row = report.run_one(CHECKS[14], Bench(torch.device("cpu")), 1)
    assert (row.verdict, row.why) == ("skipped", "needs 2 GPUs")


def test_attention_that_leaks_or_is_wrong_is_measured_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measuring itself, with the attention under test replaced by faulty ones."""
    bench = Bench(torch.device("cpu"), dry=True)
    assert attention_checks.judge_attention(attention_checks.measure_attention(bench)) == []
    own = packed_attention

    def one_document(spans: Any, device: torch.device) -> Any:
        # No borders between documents, and the future seen: later documents reach earlier ones.
        def attend(q: Any, k: Any, v: Any) -> Any:
            return own([(0, spans[-1][1])], device)(q, k, v) + v.mean() * 1e-3

        return attend

    monkeypatch.setattr(attention_checks, "packed_attention", one_document)
    found = attention_checks.measure_attention(bench)
    assert len(attention_checks.judge_attention(found)) == 2


def test_parity_that_is_off_is_measured_so() -> None:
    """A gradient turned round and a loss that is off show in the differences."""
    bench = Bench(torch.device("cpu"), dry=True)
    one = parity_checks.train(bench, TOY, 1, device=torch.device("cpu"))
    same = parity_checks.differences(one, one)
    assert (same["gradient"], same["loss"], same["embedding"]) == (0, 0, 0)
    name = "transformer.h.0.mlp.c_fc.weight"
    other = parity_checks.Trained(
        [one.losses[0] * 1.01],
        one.gradients | {name: -one.gradients[name]},
        one.validation * 1.1,
    )
    off = parity_checks.differences(other, one)
    assert off["gradient"] == pytest.approx(2.0)
    assert off["cosine"] == pytest.approx(-1.0)
    assert (off["loss"], off["validation"]) == (pytest.approx(0.01), pytest.approx(0.1))


def run(*flags: str, out: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OUT": str(out), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HOME)}
    return subprocess.run(
        [sys.executable, "-m", "tests.gpu_check", *flags],
        cwd=out,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: the checks would run")
@pytest.mark.parametrize(("flags", "code"), [((), 0), (("--require",), 3)])
def test_without_a_gpu_it_says_so_in_one_line(
    flags: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    """And fails only when asked to."""
    done = run(*flags, out=tmp_path)
    assert (done.returncode, done.stdout.count("\n")) == (code, 1)
    assert "no GPU that torch" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_dry_walk_prints_the_whole_table(tmp_path: Path) -> None:
    """All fifteen on CPU stand-ins, a whole run with a killed rank among them; then the JSON."""
    done = run("--dry", out=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    head, _, table = done.stdout.partition("gpu-check  ")
    lines = table.splitlines()[1:]
    assert [int(line[:2]) for line in lines] == list(range(1, 16))
    assert all(" dry" in line for line in lines)
    assert len(head.splitlines()) == 15
    written = json.loads((tmp_path / "gpu_check.json").read_text())
    assert written["schema"] == 1
    assert [check["id"] for check in written["checks"]] == list(range(1, 16))
    assert all(check["measured"] for check in written["checks"])


def test_it_imports_no_screen_and_no_hub() -> None:
    """It runs with a box's own Python: neither sftui nor textual nor datasets is there."""
    code = (
        "import sys\n"
        "from tests.gpu_check import attention_checks, parity_checks, run_checks, speed_checks\n"
        "from engine.processes import launch\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "bad = {'sftui', 'textual', 'datasets', 'tyro'} & loaded\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=HOME, check=True)
