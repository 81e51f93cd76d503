"""Does sftui fool its reader, or hide what a plain paired test would show? One minute on an idle core.

    .venv/bin/python honesty_sim.py [--runs 200] [--only judge,power,words,validation,exam,alarms]

Run with the project's own Python. Each line is a measured rate or a fact with its limit; the exit status
is 1 when one is broken. `rho` is the correlation of the latent answers to one question.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from scipy.stats import binom, norm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before tests/engine
from engine import events as ev
from engine.alarms.alarm_engine import AlarmEngine
from engine.data.tasks import DataSettings, load_questions, load_validation
from engine.evaluation import eval_items, validation_rows
from engine.journal.event_bus import EventBus
from engine.run import run_dir
from tests.kept_names import report
from sftui.statistics.paired_tests import CLEAR, Evaluation
from sftui.statistics.families import START
from sftui.statistics.scores import Scoreboard

FAILED = []


def tell(name, value, limit, *, most=True):
    bad = value > limit if most else value < limit
    FAILED.extend([name.strip()] if bad else [])
    print(f"  {name:76}{float(value):6.1f}  {'<=' if most else '>='} {limit:<5.3g} {'FAIL' if bad else 'ok'}", flush=True)


class Memory(Scoreboard):
    """The product's judge; `held` has its item results in memory."""

    def evaluation(self, result):
        return Evaluation(correct=result.correct, total=result.total, item_set="x", right=self.held[result.task, result.step])


def world(rng, tasks=2, evals=20, n=1024, p=0.27, rho=0.8, phi=0.7, wobble=0.0, gain=0.0):
    """(task, step) -> right or wrong; `gain` grows linearly, `wobble` moves whole checkpoints."""
    right = {}
    for task in range(tasks):
        shared, own = rng.normal(size=n), rng.normal(size=n)
        for k in range(evals):
            own = own if k == 0 else phi * own + np.sqrt(1 - phi**2) * rng.normal(size=n)
            level = p + gain * k / (evals - 1) + wobble * rng.normal()
            right[f"T{task}", 100 * k] = np.sqrt(rho) * shared + np.sqrt(1 - rho) * own > -norm.ppf(level)
    return right


def rates(runs, **kind):
    rng, out = np.random.default_rng(1), Counter()
    for _ in range(runs):
        right, evals, ps = world(rng, **kind), {}, []
        for (task, step), flags in right.items():
            evals.setdefault(task, {})[step] = ev.EvalFinished(task=task, step=step, correct=int(flags.sum()), total=len(flags), item_set="x")
        board, last = Memory(), max(step for _, step in right)
        board.held = right
        scores = board.scores(SimpleNamespace(evals=evals))
        heads = [j for task in evals if (j := scores.of(task, last, START))]
        out["colour"] += any(j.verdict == CLEAR for j in scores.cells.values())
        out["headline"] += any(j.verdict == CLEAR for j in heads)
        out["up"] += any(j.verdict == CLEAR and j.comparison.difference > 0 for j in heads)
        for task in evals:
            now, old = right[task, last], right[task, 0]
            b, c = int((now & ~old).sum()), int((old & ~now).sum())
            ps.append(2 * binom.cdf(min(b, c), b + c, 0.5) - binom.pmf(min(b, c), b + c, 0.5) if b != c else 1.0)
            out["flips"] += (now != old).mean() / len(evals)
        out["plain"] += min(ps) * len(ps) < 0.05
    return {key: 100 * value / runs for key, value in out.items()}


def judge(runs):
    print("nothing changed: % of runs with a false claim (2 tasks, 20 evaluations, 1024 questions)")
    worlds = ("plain", {}), ("5 tasks", {"tasks": 5}), ("rho .97", {"rho": 0.97}), ("6 evaluations", {"evals": 6}), ("checkpoints wobble by 1 point", {"wobble": 0.01})
    for name, kind in worlds:
        found, more = rates(runs, **kind), 6 if "wobble" in kind else 0
        tell(f"{name}: a coloured cell ({found['flips']:.0f} % of the answers flip)", found["colour"], 8 + more)
        tell(f"{name}: the headline is clear", found["headline"], 8 + more)


def power(runs):
    print("true gain by the end: % of runs whose headline says so; a plain paired test's in brackets")
    for rho in (0.5, 0.8):
        for gain, share in ((0.02, 0.6), (0.04, 0.8), (0.08, 0.95)):
            found = rates(runs // 2, rho=rho, gain=gain)
            tell(f"+{100 * gain:.0f} points, rho {rho} ({found['plain']:.0f})", found["up"], share * found["plain"] - 5, most=False)


def made(root, right, vals=(), *, items=True):
    """The report of a run with these answers and validations (step, loss, rows or None)."""
    run = run_dir.create(Path(root), f"r{len(list(Path(root).iterdir()))}", datetime(2026, 1, 1))
    run.manifest.write_text("{}")
    bus = EventBus(run, run.id, 1, live=False)
    steps = sorted({s for _, s in right} | {v[0] for v in vals})
    bus.emit(ev.RunStarted(name="r", source="mid d4", num_iterations=steps[-1] + 1, world_size=1, device="cpu"))
    bus.emit(ev.AttemptStarted(start_step=0, world_size=1))
    for step in steps:
        if step:
            bus.emit(ev.StepFinished(step=step - 1, loss=1.2))
            (run.path / f"ckpt/step-{step}").mkdir(parents=True)
            bus.emit(ev.CheckpointSaved(step=step, path=f"ckpt/step-{step}", kind="sftui", reason="schedule"))
        for _, loss, rows in (v for v in vals if v[0] == step):
            file = f"evals/step-{step}.val.npz" if rows is not None else None
            if file:
                validation_rows.save_rows(run.path / file, validation_rows.RowLosses(losses=rows, rows=np.arange(len(rows))))
            bus.emit(ev.ValidationFinished(step=step, loss=float(loss), rows_file=file))
        for task, flags in ((t, f) for (t, s), f in right.items() if s == step):
            n, file = len(flags), f"evals/step-{step}.{task}.npz" if items else None
            gold, said = tuple("ABCD"[i % 4] for i in range(n)), tuple("ABCD"[(i + (not r)) % 4] for i, r in enumerate(flags))
            if items:
                eval_items.save_items(run.path / file, eval_items.EvalResult(
                    task=task, item_set="a" * 64, item_ids=tuple(map(str, range(n))), subjects=("s",) * n, gold=gold, predicted=said,
                    letter_logprobs=np.full((n, 4), -1.4, np.float32), item_letters=(tuple("ABCD"),) * n, chance=0.25, one_letter=0.27))
            bus.emit(ev.EvalFinished(step=step, task=task, correct=int(flags.sum()), total=n, chance=0.25, item_set="a" * 64 if items else None, items_file=file))
    bus.emit(ev.RunFinished(step=steps[-1], status="finished"))
    bus.close()
    return report.markdown(report.open_case(str(run.path), command="x"), "en", stem="r")


def words(_runs):
    print("sentences that must not be written (0 = not written)")
    base, rows, size = np.arange(1024) < 300, (rng := np.random.default_rng(3)).normal(1.3, 0.3, 400), rng.integers(5, 200, 400)
    path = lambda *means: [(50 * i, (r := rows + m + rng.normal(0, 0.02, 400)).mean(), r) for i, m in enumerate(means)]  # noqa: E731
    fell, rose = path(0, -0.10, -0.09), path(0, 0.05, 0.06)

    def task(name, gains, losses, first=0, last=100):
        now = base.copy()
        now[np.flatnonzero(~base)[:gains]], now[np.flatnonzero(base)[:losses]] = True, False
        return {(name, first): base, (name, last): now}

    with tempfile.TemporaryDirectory() as root:
        tell('a task is clearly worse: "no task speaks clearly for another"', "no task speaks clearly" in made(root, task("MMLU", 10, 60), fell), 0)
        tell('one task up, one down: "no task is clearly better"', "no task is clearly better" in made(root, task("MMLU", 10, 60) | task("ARC", 60, 10), rose), 0)
        tell('a hint of harm (20 gained, 38 lost): "Not shown; a hint on MMLU"', "Not shown; a hint on MMLU." in made(root, task("MMLU", 20, 38) | {("MMLU", 50): base}, rose), 0)
        tell('+2.1 points, p < .001: "Two-point moves mean little here"', "Two-point moves" in made(root, task("MMLU", 30, 8)), 0)
        text = made(root, task("MMLU", 120, 20, 200, 400), items=False)
        for said in ("start?** Yes", "clearly better than the start"):
            tell(f'the start was not evaluated: "{said}"', said in text, 0)
        mean = lambda r: np.mean([np.average(r[i : i + 4], weights=size[i : i + 4]) for i in range(0, 400, 4)])  # noqa: E731
        d = np.where(size < 90, 0.06, -0.03)
        line = made(root, {}, [(0, mean(rows), rows), (100, mean(rows + d), rows + d)]).split("**Validation:**")[1][:20]
        tell(f'printed loss {mean(rows + d) - mean(rows):+.4f}, its paired rows {d.mean():+.4f} (z {20 * d.mean() / d.std():.1f}): "better"', "better" in line, 0)


def validation(runs):
    print("validation without rows: % of runs called better or worse (21 validations near 1.24)")
    rng, steps, some = np.random.default_rng(2), 50 * np.arange(21), max(20, runs // 4)
    with tempfile.TemporaryDirectory() as root:
        for name, scatter, drift, limit, most in (("scatter .004, no drift", 0.004, 0, 10, True), ("scatter .0002, rises by .0025 (a real d20 log)", 0.0002, 0.0025, 80, False)):
            losses = 1.24 + rng.normal(0, scatter, (some, 21)) + drift * steps / 1000
            said = sum("no clear change" not in made(root, {}, [(int(s), x, None) for s, x in zip(steps, row, strict=True)]) for row in losses)
            tell(name, 100 * said / some, limit, most=most)


def exam(_runs):
    print("does --seed change what is asked? (1 = another exam, so two seeds cannot be paired)")
    with tempfile.TemporaryDirectory() as root:
        quiz = [{"question": f"q{i}", "choices": list("wxyz"), "letters": list("ABCD"), "answer": "A", "subject": "s"} for i in range(50)]
        talk = [{"messages": [{"role": role, "content": f"{role}{i}"} for role in ("user", "assistant")]} for i in range(50)]
        for task, rows in (("MMLU", quiz), ("ARC-Easy", quiz), ("SmolTalk", talk)):
            Path(root, f"{task}.test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        one, two = (DataSettings(data_dir=Path(root), seed=seed) for seed in (42, 7))
        tell("the letter questions", load_questions(one, 20) != load_questions(two, 20), 0)
        asked = [repr([found.conversation(i) for i in range(20)]) for found in (load_validation(s, 20) for s in (one, two))]
        tell("the validation rows", asked[0] != asked[1], 0)


def alarms(runs):
    print("alarms: % of clean runs with one; then % of faults found before the end")
    rng, n, some = np.random.default_rng(8), 1953, max(20, runs // 5)
    fall = lambda n, a=2.5: 1.2 + (a - 1.2) * np.exp(-np.arange(n) / 60)  # noqa: E731
    ramp = lambda n, at, k, size: fall(n) + size * np.clip((np.arange(n) - at) / k, 0, 1) + rng.normal(0, 0.065, n)  # noqa: E731
    for most, name, limit, make in (
        (True, "gauss", 3, lambda: fall(n) + rng.normal(0, 0.065, n)),
        (True, "t3 tails", 10, lambda: fall(n) + rng.standard_t(3, n) * 0.0375),
        (True, "skewed, level .5 (log-normal .5)", 10, lambda: 0.5 * np.exp(rng.normal(0, 0.5, n))),
        (True, "low and skewed, level .1 (log-normal 1)", 20, lambda: 0.1 * np.exp(rng.normal(0, 1, n))),
        (True, "120 steps, from 10 to 2", 3, lambda: fall(120, 10) + rng.normal(0, 0.065, 120)),
        (False, "120 steps, loss doubles at 40 to 60", 80, lambda: ramp(120, 40, 20, 1.5)),
        (False, "120 steps, loss triples at 10 to 20", 80, lambda: ramp(120, 10, 10, 3.0)),
        (False, "+0.3 over 50 steps from 1000", 95, lambda: ramp(n, 1000, 50, 0.3)),
    ):
        heard = [[a for i, x in enumerate(make()) for a in engine.observe(ev.StepFinished(step=i, loss=float(x)))] for engine in (AlarmEngine() for _ in range(some))]
        tell(name, 100 * sum(any(isinstance(a, ev.AlarmRaised) for a in run) for run in heard) / some, limit, most=most)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--only", default="judge,power,words,validation,exam,alarms")
    for chosen in (asked := parser.parse_args()).only.split(","):
        {f.__name__: f for f in (judge, power, words, validation, exam, alarms)}[chosen](asked.runs)
    sys.exit(f"{len(FAILED)} limits broken" if FAILED else 0)
