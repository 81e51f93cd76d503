"""Samples: the first and the last answer to each fixed prompt."""

from __future__ import annotations

from engine import events as ev
from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts


def samples(tr: Language, facts: Facts) -> str | None:
    """The first and the last answer to each fixed prompt."""
    by_prompt: dict[str, list[ev.SampleGenerated]] = {}
    for sample in facts.state.samples:
        by_prompt.setdefault(sample.prompt, []).append(sample)
    if not by_prompt:
        return None
    parts = []
    for prompt, found in list(by_prompt.items())[:10]:
        if prompt:
            parts.append(tr("Prompt:", "提示词：") + "\n\n" + md.block([prompt], 600))
        shown = [found[0], found[-1]] if len(found) > 1 else [found[0]]
        for sample in shown:
            parts.append(
                (
                    tr(f"At step {sample.step:,}:", f"第 {sample.step:,} 步：")
                    if sample.step is not None
                    else tr("At a step that the log does not tell:", "步数未知：")
                )
                + "\n\n"
                + md.block(sample.text.splitlines() or [""], 600)
            )
    return "\n\n".join(parts)
