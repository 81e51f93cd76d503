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
        parts.append(tr("Prompt:", "提示：") + "\n\n" + md.block([prompt], 600))
        shown = [found[0], found[-1]] if len(found) > 1 else [found[0]]
        for sample in shown:
            at = f"{sample.step:,}" if sample.step is not None else "?"
            parts.append(
                tr(f"At step {at}:", f"第 {at} 步：")
                + "\n\n"
                + md.block(sample.text.splitlines() or [""], 600)
            )
    return "\n\n".join(parts)
