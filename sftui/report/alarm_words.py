"""What an alarm of `engine.alarms.alarm_texts` saw, in both languages and without its advice.

The advice of an alarm is for the moment it is raised in. A report knows what came after, so
it tells what was seen and what became of it; what to do is said by the rules of the findings.
"""

from __future__ import annotations

import re

from sftui.report.language import Language

_SEEN: tuple[tuple[str, str], ...] = (
    (
        r"the training loss is (?P<value>\S+) at step (?P<step>\S+)",
        "第 {step} 步的训练损失为 {value}",
    ),
    (
        r"the gradient norm is (?P<value>\S+) at step (?P<step>\S+)",
        "第 {step} 步的梯度范数为 {value}",
    ),
    (
        r"the validation loss is (?P<value>\S+) at step (?P<step>\S+)",
        "第 {step} 步的验证损失为 {value}",
    ),
    (
        r"loss (?P<loss>\S+) is (?P<z>\S+) sigma above the 100 steps before, and not alone",
        "损失 {loss} 比此前 100 步高 {z} 个标准差，且并非孤例",
    ),
    (
        r"loss (?P<loss>\S+) \(median of (?P<n>\d+) steps\) is (?P<rise>\S+) above its best "
        r"stretch \((?P<best>[^)]+)\)",
        "损失 {loss}（{n} 步的中位数）比最好的一段（{best}）高 {rise}",
    ),
    (
        r"loss (?P<loss>\S+) \(median of (?P<n>\d+) steps\) is (?P<rise>\S+) above where the run "
        r"began \((?P<best>[^)]+)\)",
        "损失 {loss}（{n} 步的中位数）比起点（{best}）高 {rise}",
    ),
    (
        r"validation(?: of (?P<set>.+?))? (?P<loss>\S+) is (?P<rise>\S+) above its best, (?P<best>\S+) at step "
        r"(?P<step>\S+), for the second time, on every source \((?P<n>\d+)\): over-fitting",
        "{set}验证损失 {loss} 连续第二次高于最低值（第 {step} 步的 {best}），高出 {rise}；"
        "全部 {n} 个来源都上升，属于过拟合",
    ),
    (
        r"validation(?: of (?P<set>.+?))? (?P<loss>\S+) is (?P<rise>\S+) above its best, (?P<best>\S+) at step "
        r"(?P<step>\S+), for the second time; it rose on (?P<rose>.+) and fell on (?P<fell>.+): "
        r"a shift of the mixture",
        "{set}验证损失 {loss} 连续第二次高于最低值（第 {step} 步的 {best}），高出 {rise}；"
        "在 {rose} 上升高、在 {fell} 上降低，属于数据配比偏移",
    ),
    (
        r"validation(?: of (?P<set>.+?))? (?P<loss>\S+) is (?P<rise>\S+) above its best, (?P<best>\S+) at step "
        r"(?P<step>\S+), for the second time",
        "{set}验证损失 {loss} 连续第二次高于最低值（第 {step} 步的 {best}），高出 {rise}",
    ),
    (
        r"(?P<now>\S+) (?P<unit>\S+) against (?P<usual>\S+) at the start",
        "速度 {now} {unit}，起初为 {usual}",
    ),
    (
        r"(?P<task>.+): (?P<share>\S+) of the answers are (?P<letter>\S+), so the accuracy is only "
        r"\S+ share of the right answers",
        "{task}：{share} 的回答是 {letter}，因此准确率只反映正确答案中 {letter} 的占比",
    ),
    (
        r"rank (?P<rank>\S+) needs (?P<factor>\S+) times as long as the others, who wait for it",
        "rank {rank} 的用时是其他进程的 {factor} 倍，其他进程在等它",
    ),
    (
        r"rank (?P<rank>\S+) uses (?P<used>\S+) of (?P<total>\S+) GiB"
        r"(?:, and allocations were tried again (?P<times>\S+) times)?",
        "rank {rank} 已用 {used} / {total} GiB",
    ),
    (
        r"the ranks of one machine use (?P<used>\S+) of (?P<total>\S+) GiB"
        r"(?:, and allocations were tried again (?P<times>\S+) times)?",
        "同一台机器上的各进程共用 {used} / {total} GiB",
    ),
    (
        r"(?P<free>.+) are free where the run is saved; (?P<n>\S+) checkpoints need (?P<need>.+?)",
        "保存运行的磁盘剩余 {free}；{n} 个检查点需要 {need}",
    ),
    (
        r"no step for (?P<gap>\S+) s; one takes (?P<usual>\S+) s",
        "已有 {gap} 秒没有新的一步；通常一步 {usual} 秒",
    ),
    (
        r"no heartbeat of (?P<ranks>.+) for (?P<gap>\S+) s: stopped, swapped out or gone",
        "{ranks} 已有 {gap} 秒没有心跳：可能已停止、被换出或退出",
    ),
)
"""The words before the advice -> Chinese; a test holds them to the texts of every kind."""

_PATTERNS = tuple((re.compile(pattern), chinese) for pattern, chinese in _SEEN)

_AGAIN = re.compile(r" \(x(?P<times>\d+) since step (?P<step>\S+)\)$")


def seen(tr: Language, text: str) -> str:
    """What was seen, without advice; a text that is not one of ours is given as it is."""
    again = _AGAIN.search(text)
    body = text[: again.start()] if again else text
    for pattern, chinese in _PATTERNS:
        # A sentence ends at a full stop before a blank: not inside 1.28.
        found = re.match(rf"{pattern.pattern}(?=\. |; if it comes back|$)", body)
        if found is None:
            continue
        named = {key: value or "" for key, value in found.groupdict().items()}
        if named.get("set"):
            named["set"] += " 的"
        words = tr(found.group(), chinese.format(**named))
        times = found.groupdict().get("times")
        if times:
            words += tr("", f"，内存分配重试了 {times} 次")
        if again:
            words += tr(
                f" ({again['times']} times since step {again['step']})",
                f"（自第 {again['step']} 步起 {again['times']} 次）",
            )
        return words
    return text
