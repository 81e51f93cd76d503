"""A run as Markdown with pictures, in English or Chinese: the report of an experiment.

Written from events only, and deterministic: the same files give the same report. What is
not known is left out, and said to be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UsageError
from engine.files import written
from sftui.report import markdown as md
from sftui.report import pictures, typography
from sftui.report.finding_rules import find
from sftui.report.headings import HEADINGS, number
from sftui.report.language import Lang, Language
from sftui.report.report_facts import Facts, open_facts
from sftui.report.sections import (
    alarms_and_controls,
    appendix,
    baseline,
    completion,
    data,
    distributed,
    evaluations,
    findings,
    limits,
    memory,
    model,
    picture,
    run_card,
    samples,
    settings,
    training_loss,
    validation,
    verdict,
)

__all__ = ["Written", "markdown", "open_facts", "target_path", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The files of a report."""

    report: Path
    pictures: tuple[Path, ...]


Section = Callable[[], str | None]


def markdown(facts: Facts, lang: Lang, *, stem: str | None) -> str:
    """The report as text.

    `stem` begins the names of its pictures; None: there are none.
    """
    tr = Language(lang)
    title = md.text(facts.shot.title, 120)
    parts = [f"# {tr(f'Report: {title}', f'报告：{title}')}"]
    for name, section in _sections(tr, facts, stem).items():
        body = section() or "*" + _left_out(tr, facts, name) + "*"
        parts.append(f"## {number(name)}. {tr(*HEADINGS[name])}\n\n{body}")
    parts.append(f"## {tr('Appendix', '附录')}\n\n{appendix.appendix(tr, facts)}")
    text = "\n\n".join(parts) + "\n"
    return text if lang == "en" else typography.chinese(text)


def _sections(tr: Language, facts: Facts, stem: str | None) -> dict[str, Section]:
    """What writes each section, by its name, in the order of `HEADINGS`."""
    found = find(tr, facts)
    names = pictures.names(facts, stem) if stem is not None else {}
    writers: dict[str, Section] = {
        "verdict": lambda: verdict.verdict(tr, facts, found),
        "picture": lambda: picture.picture(tr, facts, names),
        "run_card": lambda: run_card.run_card(tr, facts),
        "model": lambda: model.model(tr, facts),
        "settings": lambda: settings.settings(tr, facts),
        "distributed": lambda: distributed.distributed(tr, facts),
        "memory": lambda: memory.memory(tr, facts),
        "data": lambda: data.data(tr, facts),
        "validation": lambda: validation.validation(tr, facts),
        "training_loss": lambda: training_loss.training_loss(tr, facts),
        "evaluations": lambda: evaluations.evaluations(tr, facts),
        "completion": lambda: completion.completion(tr, facts),
        "samples": lambda: samples.samples(tr, facts),
        "alarms_and_controls": lambda: alarms_and_controls.alarms_and_controls(tr, facts),
        "baseline": lambda: baseline.baseline(tr, facts),
        "findings": lambda: findings.findings(tr, found),
        "limits": lambda: limits.limits(tr, facts),
    }
    return {name: writers[name] for name in HEADINGS}


def _left_out(tr: Language, facts: Facts, section: str) -> str:
    """Why a section is empty."""
    match section:
        case "picture":
            return tr("Left out: fewer than two points to draw.", "略去：可画的点不足两个。")
        case "samples":
            return tr("Left out: no samples were generated.", "略去：没有生成样例。")
        case "baseline":
            return tr(
                "Left out: no baseline was named (`--baseline`).",
                "略去：没有指定基线（`--baseline`）。",
            )
    what = tr("run", "运行") if facts.shot.run is not None else tr("log", "日志")
    return tr(f"Left out: the {what} does not hold it.", f"略去：{what}中没有。")


def write(facts: Facts, path: Path, lang: Lang, *, draw: bool = True) -> Written:
    """Write the report and its pictures beside it; nothing is left half written.

    Raises:
        UsageError: the place is not writable.
    """
    stem = path.stem
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written.replacing(path) as fresh:
            drawn = pictures.draw(facts, path.parent, stem) if draw else []
            fresh.write_text(markdown(facts, lang, stem=stem if draw else None), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}. Name another file with -o."
        ) from None
    return Written(report=path, pictures=tuple(drawn))


def target_path(facts: Facts, output: Path | None, lang: Lang) -> Path:
    """Where a report goes: `-o`, the run's own place, else beside nothing: the working folder."""
    if output is not None:
        return output / "report.md" if output.is_dir() else output
    ending = "" if lang == "en" else f".{lang}"
    if facts.shot.run is not None:
        return facts.shot.run.report.with_suffix(f"{ending}.md")
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in facts.shot.path.stem).strip(
        ".-"
    )
    return Path.cwd() / f"{name or 'log'}.report{ending}.md"
