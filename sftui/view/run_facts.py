"""Everything a run was asked to do and what it came to, as titled lists of facts.

A setting's meaning is the sentence under it in `engine/config.py`, read from there, so a
setting and its explanation cannot part ways. A foreign log has the facts it printed.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from engine import config
from engine.events import RunStarted, Scalar
from engine.files import checked
from sftui.logbook.event_lines import ranks
from sftui.state.run_state import RunState
from sftui.state.weight_change import share, weight_changes
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.replay_status import ReplayStatus

RATE_GROUPS = {
    "unembedding_lr": "lm_head",
    "embedding_lr": "wte",
    "matrix_lr": "matrices",
    "scalar_lr": "x0_lambdas",
}
"""Setting -> the group that trains at it; the others' rates are parts of these."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One line: a name, its value as asked, what it came to if that differs, its meaning."""

    name: str
    value: str
    effective: str = ""
    meaning: str = ""


Section = tuple[str, list[Fact]]


@lru_cache(maxsize=1)
def meanings() -> Mapping[str, str]:
    """Setting -> the sentence under it in its dataclass."""
    found: dict[str, str] = {}
    for kind in config.GROUPS.values():
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, doc in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(doc, ast.Expr)
                and isinstance(doc.value, ast.Constant)
            ):
                found[field.target.id] = " ".join(str(doc.value.value).split())
    return found


def sections(state: RunState) -> list[Section]:
    """Titled lists of facts: the run, a step, the optimizer, the data, then all settings."""
    run = state.run
    if run is None:
        return []
    out = [
        ("The run", _identity(state, run)),
        ("A step", _step(state, run)),
        ("The optimizer", _optimizer(run)),
        ("How far the weights went", _travel(state)),
        ("The data", _data(run)),
    ]
    if state.trainer:
        # Another trainer's settings: a name that ours has too means another thing there.
        facts = [Fact(name, _value(value)) for name, value in run.settings.items()]
        out.append(("The trainer's settings", facts))
        return [(title, found) for title, found in out if found]
    groups: dict[str, list[str]] = {}
    for group, kind in config.GROUPS.items():
        groups[group] = [name for name in kind.__dataclass_fields__ if name in run.settings]
    for group, names in groups.items():
        out.append((f"Settings: {group}", [_setting(state, run, name) for name in names]))
    known = {name for names in groups.values() for name in names}
    rest = [name for name in run.settings if name not in known]
    out.append(("Other settings", [Fact(name, _value(run.settings[name])) for name in rest]))
    return [(title, facts) for title, facts in out if facts]


def stage_sections(replay: ReplayStatus | None) -> list[Section]:
    """How each program of a log ended; nothing of a run, or of a log of one program."""
    if replay is None or len(replay.stages) < 2:
        return []
    ends = [*replay.ends, *[""] * len(replay.stages)]
    facts = []
    for i, (name, end) in enumerate(zip(replay.stages, ends, strict=False)):
        here = "  (on the screen)" if i == replay.stage else ""
        facts.append(Fact(f"{i + 1} {clean(name, 40)}", (end or "no word of its end") + here))
    return [("The stages of this log", facts)]


def _identity(state: RunState, run: RunStarted) -> list[Fact]:
    effective = run.effective
    told = effective.get("trainable_parameters")
    trained = told if isinstance(told, int) and told != run.num_parameters else 0
    facts = [
        Fact("name", _value(run.name)),
        Fact("recipe", _value(run.recipe)),
        Fact("trainer", clean(state.trainer, 100)),
        Fact("starts from", _value(run.source)),
        Fact("ranks", ranks(run)),
        Fact("parameters", _number(run.num_parameters)),
        *([Fact("of them trained", _number(trained))] if trained else []),
        Fact("precision", _precision(state)),
    ]
    shape = [
        f"{effective[name]} {word}"
        for name, word in (
            ("n_layer", "layers"),
            ("n_embd", "wide"),
            ("n_head", "heads"),
            ("n_kv_head", "KV heads"),
            ("vocab_size", "tokens of vocabulary"),
            ("sequence_len", "tokens of context"),
        )
        if effective.get(name) is not None
    ]
    facts.append(Fact("shape", ", ".join(shape)))
    if state.attempt > 1:
        facts.append(Fact("attempt", str(state.attempt)))
    notes = effective.get("notes")
    if isinstance(notes, str):
        try:
            found = checked.parse_json(notes)
        except ValueError:
            found = []
        for note in found if isinstance(found, list) else []:
            facts.append(Fact("note", clean(str(note), 300)))
    return [fact for fact in facts if fact.value]


def _precision(state: RunState) -> str:
    dtype = clean(state.precision or "", 40)
    return f"{dtype} autocast" if dtype in ("bfloat16", "float16") else dtype


def _step(state: RunState, run: RunStarted) -> list[Fact]:
    micro = run.settings.get("device_batch_size")
    accumulation = run.effective.get("grad_accum_steps")
    rows, best_fit = state.rows_a_step, state.best_fit
    long = f" of {_value(run.settings.get('max_seq_len'))} tokens" if best_fit else ""
    facts = []
    if micro is not None:
        words = ("1 row" if micro == 1 else f"{_value(micro)} rows") + long
        if run.world_size is not None:
            s = "" if run.world_size == 1 else "s"
            words += f" on each of {run.world_size} rank{s}"
        facts.append(Fact("micro-batch", words))
    if accumulation is not None:
        each = run.effective.get("examples_per_micro_step")
        of = f" of {_value(each)} rows" if each is not None else ""
        s = "" if accumulation == 1 else "s"
        facts.append(Fact("accumulation", f"{_value(accumulation)} micro-step{s}{of}"))
    places = run.settings.get("total_batch_size")
    if best_fit and isinstance(places, int):
        facts.append(Fact("token places a step", fmt.count(places)))
    if rows is not None:
        name = "conversations a step" if best_fit else "rows a step"
        facts.append(Fact(name, f"{rows:,.4g}" if best_fit else _value(rows)))
    if state.trainer and state.planned is not None:
        # Another's trainer knows no last iteration that only evaluates.
        facts.append(Fact("updates", fmt.count(state.planned)))
    elif run.num_iterations is not None:
        meaning = ""
        if state.planned != run.num_iterations:
            meaning = f"{fmt.count(state.planned)} updates; the last iteration only evaluates"
        facts.append(Fact("iterations", fmt.count(run.num_iterations), meaning=meaning))
    if state.steps_an_epoch is not None:
        facts.append(Fact("steps an epoch", f"{state.steps_an_epoch:,.1f}"))
    return facts


def _optimizer(run: RunStarted) -> list[Fact]:
    facts = [
        Fact(
            name.removeprefix("lr/"),
            fmt.rate(float(value)),
            meaning="Muon" if name == "lr/matrices" else "AdamW",
        )
        for name, value in run.effective.items()
        if name.startswith("lr/") and isinstance(value, int | float)
    ]
    scale = run.effective.get("width_scale")
    if isinstance(scale, int | float):
        meaning = "1/sqrt(width/768): on the rates of embedding and head"
        facts.append(Fact("width scale", f"×{scale:.4g}", meaning=meaning))
    return facts


def _travel(state: RunState) -> list[Fact]:
    return [
        Fact(
            clean(each.group, 40),
            f"{share(each.distance)} from the start",
            meaning=f"of the weights' size, after update {fmt.count(each.step)}, which moved them "
            f"by {share(each.last_ratio)}; the first one measured moved them by "
            f"{share(each.first_ratio)}",
        )
        for each in weight_changes(state)
    ]


def _data(run: RunStarted) -> list[Fact]:
    facts = []
    total = sum(run.mixture.values())
    for task, rows in run.mixture.items():
        share = fmt.percent(rows / total) if total else ""
        facts.append(Fact(clean(task, 60), f"{fmt.count(rows)} rows", meaning=share))
    if run.rows is not None:
        facts.append(Fact("one epoch", f"{fmt.count(run.rows)} rows"))
    return facts


def _setting(state: RunState, run: RunStarted, name: str) -> Fact:
    value = run.settings[name]
    effective = ""
    if name in RATE_GROUPS:
        rate = run.effective.get(f"lr/{RATE_GROUPS[name]}")
        fraction = run.settings.get("init_lr_frac")
        if isinstance(rate, int | float):
            effective = fmt.rate(float(rate))
            if effective == _value(value) and not isinstance(fraction, int | float):
                effective = ""
    elif name == "num_iterations" and run.num_iterations not in (None, value):
        effective = fmt.count(run.num_iterations)
    elif name == "dtype":
        effective = clean(state.precision or "", 40)
    elif name == "device_type" and not value:
        effective = run.device or ""
    elif name == "gpus" and run.world_size not in (None, value):
        effective = str(run.world_size)
    elif name == "eval_tasks" and state.evals:
        # The starter asks its own questions, whatever stands here.
        effective = _value(",".join(state.evals))
    if effective == _value(value):
        effective = ""
    return Fact(name, _value(value), effective, meanings().get(name, ""))


def _value(value: Scalar) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return fmt.rate(value)
    return clean(str(value), 200)


def _number(value: int | None) -> str:
    return "" if value is None else f"{fmt.count(value)} ({fmt.si(value)})"
