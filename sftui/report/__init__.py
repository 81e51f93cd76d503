"""A run as Markdown with pictures, in English or Chinese: the report nobody writes by hand.

Written from events only, and deterministic: the same files give the same report. What is
not known is left out, and said to be.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UsageError
from sftui.report import closing, making, memory, numbers, opening, pictures, story
from sftui.report import markdown as md
from sftui.report.findings import findings
from sftui.report.language import Lang, Tongue
from sftui.report.report_facts import Case, open_case

__all__ = ["Written", "markdown", "open_case", "target_path", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The files of a report."""

    report: Path
    pictures: tuple[Path, ...]


Section = Callable[[], str | None]


def markdown(case: Case, lang: Lang, *, stem: str | None) -> str:
    """The report as text.

    `stem` begins the names of its pictures; None: there are none.
    """
    say = Tongue(lang)
    found = findings(say, case)
    names = pictures.names(case, stem) if stem is not None else {}
    sections: list[tuple[str, Section]] = [
        (say("Verdict", "结论"), lambda: opening.verdict(say, case, found)),
        (say("Picture", "图"), lambda: opening.picture(say, names)),
        (say("Run card", "运行卡片"), lambda: opening.run_card(say, case)),
        (say("Model", "模型"), lambda: making.model(say, case)),
        (say("Settings", "设置"), lambda: making.settings(say, case)),
        (say("Distributed", "分布式"), lambda: making.distributed(say, case)),
        (say("Memory", "内存与显存"), lambda: memory.memory(say, case)),
        (say("Data", "数据"), lambda: making.data(say, case)),
        (say("Validation", "验证"), lambda: numbers.validation(say, case)),
        (say("Training loss", "训练损失"), lambda: numbers.training_loss(say, case)),
        (say("Evaluations", "评测"), lambda: numbers.evaluations(say, case)),
        (say("Completion", "完成情况"), lambda: numbers.completion(say, case)),
        (say("Samples", "样例"), lambda: story.samples(say, case)),
        (say("Alarms and controls", "警报与控制"), lambda: story.alarms_and_controls(say, case)),
        (say("Baseline", "基线"), lambda: story.baseline(say, case)),
        (say("Findings", "发现"), lambda: closing.findings(say, found)),
        (say("Limits", "局限"), lambda: closing.limits(say, case)),
    ]
    title = say(
        f"Report: {md.text(case.shot.title, 120)}", f"报告：{md.text(case.shot.title, 120)}"
    )
    parts = [f"# {title}"]
    for number, (name, section) in enumerate(sections, start=1):
        body = section() or "*" + _left_out(say, case, number) + "*"
        parts.append(f"## {number}. {name}\n\n{body}")
    parts.append(f"## {say('Appendix', '附录')}\n\n{closing.appendix(say, case)}")
    return "\n\n".join(parts) + "\n"


def _left_out(say: Tongue, case: Case, number: int) -> str:
    """Why a section is empty."""
    reasons = {
        2: say("Left out: fewer than two points to draw.", "略去：可画的点不足两个。"),
        13: say("Left out: no samples were generated.", "略去：没有生成样例。"),
        15: say(
            "Left out: no baseline was named (`--baseline`).",
            "略去：没有指定基线（`--baseline`）。",
        ),
    }
    what = say("run", "运行") if case.is_ours else say("log", "日志")
    return reasons.get(number) or say(
        f"Left out: the {what} does not hold it.", f"略去：{what}中没有。"
    )


def write(case: Case, path: Path, lang: Lang, *, draw: bool = True) -> Written:
    """Write the report and its pictures beside it; nothing is left half written.

    Raises:
        UsageError: the place is not writable.
    """
    stem = path.stem
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = pictures.draw(case, path.parent, stem) if draw else []
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(markdown(case, lang, stem=stem if draw else None), encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}. Name another file with -o."
        ) from None
    return Written(report=path, pictures=tuple(drawn))


def target_path(case: Case, output: Path | None, lang: Lang) -> Path:
    """Where a report goes: `-o`, the run's own place, else beside nothing: the working folder."""
    if output is not None:
        return output / "report.md" if output.is_dir() else output
    ending = "" if lang == "en" else f".{lang}"
    if case.shot.run is not None:
        return case.shot.run.report.with_suffix(f"{ending}.md")
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in case.shot.path.stem).strip(".-")
    return Path.cwd() / f"{name or 'log'}.report{ending}.md"
