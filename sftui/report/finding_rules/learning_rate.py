"""How advice names the setting that scales the learning rates."""

from __future__ import annotations

from sftui.report.language import Language
from sftui.report.report_facts import Facts


def raise_rate(tr: Language, facts: Facts) -> str:
    """The sentence that advises a higher rate."""
    name = rate_setting(tr, facts)
    return tr(f"Raise the rate{name}.", f"提高学习率{name}。")


def rate_setting(tr: Language, facts: Facts) -> str:
    """The setting that scales the rates, where the run has it."""
    known = facts.is_ours or (facts.is_nanochat and facts.stage_name == "chat_sft")
    return tr(" (init\\_lr\\_frac)", "（init\\_lr\\_frac）") if known else ""
