"""The sentences that several sections share: a comparison, a verdict, a checkpoint."""

from __future__ import annotations

import math

from sftui.readers.tasks import looks_like_a_result
from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.verdicts import (
    MOST_POINTS,
    Keep,
    TaskOutcome,
    ValidationOutcome,
    keep,
    sharpness,
    task_outcomes,
    validation_outcome,
)
from sftui.statistics.accuracy import ALPHA, wilson
from sftui.statistics.paired_tests import Comparison


def points(value: float, digits: int = 2) -> str:
    """`+2.15`: always with its sign, and never `-0.00`."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


SMALL_LOSS = 1e-3
"""Below it six decimals leave fewer than four digits."""


def p_value(p: float) -> str:
    """`.26`, `.045`, `< .001`: two digits, three where it matters."""
    if not math.isfinite(p):
        return "-"
    if p < 0.001:
        return "< .001"
    digits = 3 if p < 0.095 else 2
    text = f"{p:.{digits}f}"
    return text[1:] if text.startswith("0") else text


def percent(fraction: float | None) -> str:
    return "-" if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.2f} %"


def loss(value: float) -> str:
    """Six decimals; four digits of a loss that has none there."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "inf"
    return f"{value:.4g}" if 0 < abs(value) < SMALL_LOSS else f"{value:.6f}"


def loss_change(value: float, of: float) -> str:
    """With its sign, and as many digits as losses of the size of `of` have."""
    return f"{value:+.3g}" if 0 < abs(of) < SMALL_LOSS and value else points(value, 6)


def relative(value: float, digits: int = 2) -> str:
    """A relative change in percent: `+0.14 %`."""
    return f"{points(100 * value, digits)} %" if math.isfinite(value) else "-"


def interval(found: Comparison) -> str:
    return f"{points(100 * found.low, 1)} .. {points(100 * found.high, 1)}"


def evidence(tr: Language, found: Comparison) -> str:
    """Interval, p and how they were found."""
    if found.kind == "bare":
        return tr("no counts, hence no error and no evidence", "没有题数，因此没有误差，也没有证据")
    p = p_value(found.p)
    p = f"p {p}"
    if found.kind == "paired":
        flips = tr(
            f"{found.gains} questions gained, {found.losses} lost",
            f"新答对 {found.gains} 题，新答错 {found.losses} 题",
        )
        return tr(
            f"95 % interval {interval(found)}, paired {p}, {flips}",
            f"95 % 区间 {interval(found)}，配对检验 {p}，{flips}",
        )
    other = "not the same items" in found.note
    return tr(
        f"95 % interval {interval(found)}, unpaired {p}"
        + (", as the questions are not the same" if other else ""),
        f"95 % 区间 {interval(found)}，非配对检验 {p}" + ("，因为题目不同" if other else ""),
    )


def start_words(tr: Language, outcome: TaskOutcome) -> str:
    """What a task is compared with: never "the start" where that was not measured."""
    if outcome.stages[0]:
        stage = md.text(outcome.stages[0], 40)
        return tr(f"the start (stage {stage})", f"起点（阶段 {stage}）")
    if outcome.first == 0:
        return tr("the start", "起点")
    return tr(f"step {outcome.first}, the first evaluation", f"第 {outcome.first} 步（首次评测）")


def end_words(tr: Language, outcome: TaskOutcome) -> str:
    """Where its last result was measured."""
    if outcome.stages[1]:
        stage = md.text(outcome.stages[1], 40)
        return tr(f"step {outcome.last} (stage {stage})", f"第 {outcome.last} 步（阶段 {stage}）")
    return tr(f"step {outcome.last}", f"第 {outcome.last} 步")


def letter_sentence(tr: Language, found: tuple[str, float]) -> str:
    """What replaces a claim on the accuracy where one letter has most answers."""
    letter, share = md.text(found[0], 4), f"{100 * found[1]:.0f}"
    return tr(
        f"{share} % of the answers are {letter}, so the accuracy is that letter's share of the "
        "right answers and says nothing of what the model knows",
        f"{share}% 的回答都是 {letter}，准确率只是该字母在正确答案中的占比，不能说明模型掌握了什么",
    )


def task_sentence(tr: Language, facts: Facts, outcome: TaskOutcome, *, brief: bool = False) -> str:
    """One task from its first to its last evaluation: points, interval, verdict word.

    `brief`: without what the run's own scatter says of a difference that is not clear anyway.
    """
    name = md.text(outcome.task, 60)
    end = percent(outcome.now.value)
    if outcome.one_letter is not None:
        return tr(
            f"{name} {end} at {end_words(tr, outcome)}: {letter_sentence(tr, outcome.one_letter)}",
            f"{name} {end_words(tr, outcome)}为 {end}：{letter_sentence(tr, outcome.one_letter)}",
        ) + _gold_clause(tr, outcome)
    if outcome.judged is None:
        return tr(
            f"{name}: evaluated once, {end} at {end_words(tr, outcome)}; nothing to compare with",
            f"{name}：只评测过一次，{end_words(tr, outcome)}为 {end}；没有可比较的对象",
        )
    found = outcome.judged.comparison
    start = percent(outcome.before.value)
    word = tr.verdict(outcome.word)
    text = tr(
        f"{name} {start} -> {end}, {points(found.points)} points from {start_words(tr, outcome)} "
        f"to {end_words(tr, outcome)} ({evidence(tr, found)}): **{word}**",
        f"{name} {start} -> {end}，从{start_words(tr, outcome)}到{end_words(tr, outcome)}相差 "
        f"{points(found.points)} 个百分点（{evidence(tr, found)}）：**{word}**",
    )
    scatter = f"p {p_value(found.p_scatter)}"
    if outcome.judged.held_by == "number":
        asked = len(facts.tasks)
        text += tr(
            f" (not clear after correction for the {asked} tasks)",
            f"（经 {asked} 个任务的多重比较校正后不显著）",
        )
    elif outcome.judged.held_by == "scatter":
        text += tr(
            f" (not clear: this run's own checkpoints scatter as much, {scatter})",
            f"（不显著：本次运行各检查点自身的波动也有这么大，{scatter}）",
        )
    if not brief and outcome.judged.held_by == "number" and found.p_scatter >= ALPHA:
        text += tr(
            f"; this run's own checkpoints scatter as much, {scatter}",
            f"；本次运行各检查点自身的波动也有这么大，{scatter}",
        )
    return text + _gold_clause(tr, outcome)


def _gold_clause(tr: Language, outcome: TaskOutcome) -> str:
    """The second line of a task of letters: the probability of the right one."""
    gold = outcome.gold
    if gold is None:
        return ""
    found = gold.comparison
    word = tr.verdict(gold.verdict)
    held = (
        tr(", within the scatter of its checkpoints", "，未超出各检查点自身的波动")
        if gold.held_by == "scatter"
        else ""
    )
    change, between = points(found.points), interval(found)
    return tr(
        f"; its probability of the right letter moved by {change} points (95 % interval "
        f"{between}, p {p_value(found.p)}): **{word}**{held}",
        f"；正确字母的概率变化 {change} 个百分点（95 % 区间 {between}，p {p_value(found.p)}）："
        f"**{word}**{held}",
    )


def better_head(tr: Language, outcomes: list[TaskOutcome]) -> str:
    """The question that line 1 answers: than the start only where that was measured."""
    if all(o.from_start or o.judged is None for o in outcomes):
        return tr("**Better than the start?**", "**比起点好吗？**")
    firsts = {o.first for o in outcomes if not o.from_start}
    if len(firsts) == 1 and not any(o.from_start for o in outcomes):
        step = min(firsts)
        return tr(f"**Better than step {step}?**", f"**比第 {step} 步好吗？**")
    return tr("**Better than at the first evaluation?**", "**比首次评测时好吗？**")


def better_line(tr: Language, facts: Facts) -> str:
    """First line of the verdict: whether the tasks are better than at the start."""
    outcomes = task_outcomes(facts)
    head = better_head(tr, outcomes)
    if not outcomes:
        return _nothing_evaluated(tr, facts)
    details = tr("; ", "；").join(task_sentence(tr, facts, o, brief=True) for o in outcomes)
    clear = any(o.up or o.down for o in outcomes)
    why = "" if clear else noise_line(tr, facts)
    late = "" if all(o.from_start for o in outcomes) else _start_unknown(tr)
    parts = [f"{head} {better_answer(tr, outcomes)}", details + tr(".", "。"), late, why]
    return tr.sentences(parts)


def better_answer(tr: Language, outcomes: list[TaskOutcome]) -> str:
    """Yes or no and on which tasks; harm and one-letter answers are told as what they are."""
    up, down = (
        _names(tr, [o for o in outcomes if o.up]),
        _names(tr, [o for o in outcomes if o.down]),
    )
    letters = [o for o in outcomes if o.one_letter is not None]
    if up and down:
        answer = tr(
            f"Mixed: clearly better on {up}, clearly worse on {down}.",
            f"有好有坏：{up} 显著提升，{down} 显著变差。",
        )
    elif up:
        answer = tr(f"Yes, on {up}.", f"是，{up} 显著提升。")
    elif down:
        answer = tr(f"No, clearly worse on {down}.", f"否，{down} 显著变差。")
    elif letters:
        answer = tr(
            f"Not known: on {_names(tr, letters)} most answers are one letter.",
            f"未知：{_names(tr, letters)} 的回答大多是同一个字母。",
        )
    elif all(o.judged is None for o in outcomes):
        answer = tr(
            "Not known: every task was evaluated only once.", "未知：每个任务只评测过一次。"
        )
    elif all(o.judged is None or o.judged.comparison.kind == "bare" for o in outcomes):
        answer = tr(
            "Not known: the log holds percentages without the number of questions.",
            "未知：日志中只有百分比，没有题数。",
        )
    else:
        answer = tr("Not shown", "未能证明") + _hints(tr, outcomes) + tr(".", "。")
    if (up or down) and letters:
        answer += tr(
            f" On {_names(tr, letters)} most answers are one letter.",
            f"{_names(tr, letters)} 的回答大多是同一个字母。",
        )
    return answer


def _hints(tr: Language, outcomes: list[TaskOutcome]) -> str:
    """Differences that are not clear, each with its direction."""
    better = _names(tr, [o for o in outcomes if o.hint == "up"])
    worse = _names(tr, [o for o in outcomes if o.hint == "down"])
    parts = []
    if better:
        parts.append(tr(f"a hint that {better} got better", f"{better} 有变好的迹象"))
    if worse:
        parts.append(tr(f"a hint that {worse} got worse", f"{worse} 有变差的迹象"))
    return "".join(tr("; ", "；") + part for part in parts)


def _names(tr: Language, outcomes: list[TaskOutcome]) -> str:
    return tr.join([md.text(o.task, 60) for o in outcomes])


def _start_unknown(tr: Language) -> str:
    return tr(
        "The start itself was not evaluated, so nothing is said of it.",
        "起点本身没有评测，因此无法与起点比较。",
    )


_MOST_UNUSED = 12


def _nothing_evaluated(tr: Language, facts: Facts) -> str:
    """That no task was evaluated is said only of a log that holds no other numbers."""
    if facts.state.asks_nothing:
        return tr(
            "**Better than the start?** Not known: this run asked no questions (`--eval-tasks`).",
            "**比起点好吗？** 未知：本次训练没有提任何问题（`--eval-tasks`）。",
        )
    unused = sorted(facts.state.metrics, key=lambda name: not looks_like_a_result(name))
    if not unused:
        return tr(
            "**Better than the start?** Not known: no task was evaluated.",
            "**比起点好吗？** 未知：没有评测任何任务。",
        )
    names = tr.join([md.text(name, 60) for name in unused[:_MOST_UNUSED]])
    more = len(unused) - _MOST_UNUSED
    if more > 0:
        names += tr(f" and {more} more", f" 等，另有 {more} 个")
    return tr(
        "**Better than the start?** Not known: none of the log's numbers is known as the accuracy "
        f"of a task. These were in the log and are not used: {names}.",
        "**比起点好吗？** 未知：日志中没有一个数字被认作某项任务的准确率。"
        f"以下数字在日志中，但未被使用：{names}。",
    )


def noise_line(tr: Language, facts: Facts) -> str:
    """In one line: what such evaluations can see, where nothing is clear."""
    outcomes = task_outcomes(facts)
    for outcome in outcomes:
        found = sharpness(facts, outcome)
        if found is None:
            continue
        on, at = _of_which(tr, outcome, outcomes)
        if found.seen > MOST_POINTS:
            return tr(
                f"What can be seen {on}: nothing; {found.total:,} questions show no change, however "
                "large.",
                f"{at}能看清多大的变化：{found.total:,} 道题，多大的变化都看不出来。",
            )
        if found.flipped is not None:
            return tr(
                f"What can be seen {on}: {found.flipped:,} of {found.total:,} answers flipped, so "
                f"a true change of about {found.seen:.1f} points is found in four of five "
                "repetitions.",
                f"{at}能看清多大的变化：{found.total:,} 道题中有 {found.flipped:,} 道的对错发生变化，"
                f"因此约 {found.seen:.1f} 个百分点的真实变化，五次中能发现四次。",
            )
        half = f"{98 / math.sqrt(found.total):.1f}"
        if outcome.before.correct is not None:
            low, high = wilson(outcome.before.correct, found.total)
            half = f"{50 * (high - low):.1f}"
        small = tr("Two-point moves", "两个百分点的变化")
        if found.seen < 2:
            small = tr(
                f"Moves under {found.seen:.1f} points", f"小于 {found.seen:.1f} 个百分点的变化"
            )
        return tr(
            f"{small} mean little {on}: with {found.total:,} questions one accuracy is "
            f"only known to ±{half} points, and two separate ones must differ by about "
            f"{found.seen:.1f} points before a test would usually notice.",
            f"{at}{small}说明不了什么：{found.total:,} 道题时，一个准确率只能精确到 "
            f"±{half} 个百分点；两次独立的评测要相差约 {found.seen:.1f} 个百分点，检验才通常看得出来。",
        )
    return ""


def _of_which(tr: Language, outcome: TaskOutcome, outcomes: list[TaskOutcome]) -> tuple[str, str]:
    """What a sentence on one task's questions holds for, in English and in Chinese."""
    paired = outcome.judged is not None and outcome.judged.comparison.gains is not None
    if len(outcomes) == 1 or (len({o.now.total for o in outcomes}) == 1 and not paired):
        return "here", "在这里"
    name = md.text(outcome.task, 60)
    return f"on {name}", f"在 {name} 上，"


def validation_line(tr: Language, facts: Facts) -> str:
    """Second line of the verdict: the validation loss, start to end."""
    head = tr("**Validation:**", "**验证集：**")
    found = validation_outcome(facts)
    if found is None:
        return tr(f"{head} not measured.", f"{head}没有测量。")
    if found.last_step == found.first_step:
        return tr(
            f"{head} measured once, {loss(found.first)} at step {found.first_step}.",
            f"{head}只测过一次，第 {found.first_step} 步为 {loss(found.first)}。",
        )
    parts = [
        validation_sentence(tr, found),
        best_sentence(tr, found),
        _risen_again(tr, facts, found),
    ]
    return f"{head} {tr.sentences(parts)}"


def _risen_again(tr: Language, facts: Facts, found: ValidationOutcome) -> str:
    """That the last validation lies above the best, where the alarm on it is open."""
    spans = [s for s in facts.counts.alarms if s.raised.kind == "overfitting"]
    if found.start_is_best or not any(s.cleared is None for s in spans) or not found.best:
        return ""
    above = relative((found.last - found.best) / abs(found.best))
    return tr(f"It has risen again since: {above}.", f"此后重新上升：{above}。")


def validation_word(tr: Language, found: ValidationOutcome) -> str:
    return {
        "up": tr("worse", "变差"),
        "down": tr("better", "变好"),
        "flat": tr("no clear change", "没有显著变化"),
        "unknown": tr("not known whether it changed", "无法判断是否变化"),
    }[found.direction]


def validation_sentence(tr: Language, found: ValidationOutcome) -> str:
    """The word, the two losses, and the change that the word is of with its evidence."""
    ends = tr(
        f"{validation_word(tr, found)}: {loss(found.first)} at step {found.first_step} -> "
        f"{loss(found.last)} at step {found.last_step}, ",
        f"{validation_word(tr, found)}：第 {found.first_step} 步 {loss(found.first)} -> 第 "
        f"{found.last_step} 步 {loss(found.last)}，",
    )
    change = f"{loss_change(found.change, found.first)} ({relative(found.relative)})"
    if found.found is not None and found.has_rows:
        comparison = found.found.judged.comparison
        low = loss_change(comparison.low, found.first)
        high = loss_change(comparison.high, found.first)
        change = tr(
            f"{change} over the same {found.found.rows} rows, 95 % interval {low} .. {high}",
            f"同样的 {found.found.rows} 行上相差 {change}，95 % 区间 {low} .. {high}",
        )
        if found.found.judged.held_by == "scatter":
            change += tr(
                ", within the scatter of this run's checkpoints", "，未超出各检查点自身的波动"
            )
    elif found.found is not None and found.found.basis == "others":
        change += tr(
            "; the two were measured on other rows, so they do not compare",
            "；两次验证用的不是同样的行，不能比较",
        )
    elif found.direction == "unknown":
        change += tr(
            "; without losses row by row it takes more validations to tell",
            "；没有逐行损失，验证次数太少，无法判断",
        )
    return ends + change + tr(".", "。")


def best_sentence(tr: Language, found: ValidationOutcome) -> str:
    """Which validation was the best; the start counts."""
    if found.last_step == found.first_step:
        return tr(
            f"It was measured once, at step {found.last_step}.",
            f"只在第 {found.last_step} 步测过一次。",
        )
    if found.start_is_best and found.first_step == 0:
        return tr(
            "The best is step 0: no later checkpoint beat the starting one.",
            "最好的是第 0 步：之后没有任何检查点胜过起始检查点。",
        )
    if found.of_other_rows:
        return tr(
            f"Of those on the rows of the last, the best is {loss(found.best)} at step "
            f"{found.best_step}; {found.of_other_rows:,} were measured on other rows.",
            f"在与最后一次相同的行上，最好的是第 {found.best_step} 步的 {loss(found.best)}；"
            f"另有 {found.of_other_rows:,} 次用的是其他行。",
        )
    return tr(
        f"The best is {loss(found.best)} at step {found.best_step}.",
        f"最好的是第 {found.best_step} 步的 {loss(found.best)}。",
    )


def keep_line(tr: Language, facts: Facts) -> str:
    """Fourth line of the verdict: which checkpoint to keep."""
    head = tr("**Checkpoint to keep:**", "**应保留的检查点：**")
    return head + tr(" ", "") + keep_sentence(tr, facts, keep(facts))


def keep_sentence(tr: Language, facts: Facts, found: Keep) -> str:
    """Which weights, and why; what speaks against them stands in the same sentence."""
    step, where, stop = found.step, _where(tr, found), tr(".", "。")
    match found.reason:
        case "start":
            return _keep_start(tr, facts) + stop
        case "start-worse":
            names = _plain_names(tr, found.down)
            kept = (
                tr("the starting one", "起始检查点")
                if step == 0
                else tr(f"none after step {step}", f"第 {step} 步之后的都不保留")
            )
            return tr(
                f"{kept}: the last is clearly worse on {names}.",
                f"{kept}：最后一个在 {names} 上显著变差。",
            )
        case "trade":
            return _keep_trade(tr, facts, found) + stop
        case "last-gain":
            names = _plain_names(tr, found.up)
            return (
                tr(
                    f"step {step}{where}: clearly better than {_than(tr, facts, found.up)} on {names}",
                    f"第 {step} 步{where}：{names} 显著好于{_than(tr, facts, found.up)}",
                )
                + _validation_rose(tr, facts)
                + stop
            )
        case "last-best":
            return (
                tr(
                    f"step {step}{where}, the last: {_lowest(tr, facts)}",
                    f"第 {step} 步{where}，即最后一步：{_lowest(tr, facts)}",
                )
                + _on_its_rows(tr, facts)
                + _against(tr, found)
                + stop
            )
        case "best-val":
            return (
                tr(
                    f"step {step}{where}: its validation loss is the lowest",
                    f"第 {step} 步{where}：验证损失最低",
                )
                + _on_its_rows(tr, facts)
                + _against(tr, found)
                + _not_shown(tr, facts)
                + stop
            )
        case _:
            return tr(
                "not known: nothing was measured that could tell.",
                "未知：没有任何测量能够判断。",
            )


def _lowest(tr: Language, facts: Facts) -> str:
    """That no validation is lower than the last; an earlier one may be equal."""
    found = validation_outcome(facts)
    if found is not None and found.best_step != found.last_step:
        return tr("no validation loss is lower", "没有更低的验证损失")
    return tr("its validation loss is the lowest", "验证损失最低")


def _on_its_rows(tr: Language, facts: Facts) -> str:
    """That some validations are left out, which asked other rows."""
    found = validation_outcome(facts)
    if found is None or not found.of_other_rows:
        return ""
    return tr(" of those on the same rows", "（仅限用同样行的验证）")


def _not_shown(tr: Language, facts: Facts) -> str:
    """That the lowest of several validations may be so by chance, where nothing tells more."""
    found = validation_outcome(facts)
    if found is None or found.direction not in ("flat", "unknown"):
        return ""
    return tr(
        ", though no change of the validation loss is beyond doubt",
        "，但验证损失的变化并不显著",
    )


def _where(tr: Language, found: Keep) -> str:
    """The path; where there is none, the nearest that is kept."""
    if found.path:
        return tr(f" ({md.code(found.path)})", f"（{md.code(found.path)}）")
    if found.nearest is None:
        return ""
    step, path = found.nearest
    return tr(
        f" (it is not kept; the nearest that is: step {step}, {md.code(path)})",
        f"（未保留；最近的是第 {step} 步，{md.code(path)}）",
    )


def _than(tr: Language, facts: Facts, tasks: tuple[str, ...]) -> str:
    """What these tasks were compared with."""
    outcomes = [o for o in task_outcomes(facts) if o.task in tasks]
    if all(o.from_start for o in outcomes):
        return tr("the start", "起点")
    firsts = {o.first for o in outcomes}
    if len(firsts) == 1:
        return tr(f"step {min(firsts)}", f"第 {min(firsts)} 步")
    return tr("the first evaluation", "首次评测")


def _keep_start(tr: Language, facts: Facts) -> str:
    source = facts.run.source if facts.run is not None else None
    what = f" ({md.text(source, 80)})" if source else ""
    hint = any(o.hint == "up" for o in task_outcomes(facts))
    return tr(
        f"the starting one{what}: its validation loss was never beaten, and no task speaks for "
        "another"
        + ("; keep the last one beside it if the hint above is followed up" if hint else ""),
        f"起始检查点{what}：它的验证损失从未被超过，也没有任务支持别的检查点"
        + ("；如果打算继续核实上面变好的迹象，可同时保留最后一个" if hint else ""),
    )


def _keep_trade(tr: Language, facts: Facts, found: Keep) -> str:
    """No checkpoint is best in everything."""
    down, step, where = _plain_names(tr, found.down), found.step, _where(tr, found)
    first = _than(tr, facts, found.down)
    if found.up:
        up = _plain_names(tr, found.up)
        return tr(
            f"a choice: step {step}{where} is clearly better on {up} and clearly worse on {down}; "
            f"{first} is the one to keep where {down} counts",
            f"需要取舍：第 {step} 步{where}在 {up} 上显著提升，在 {down} 上显著变差；"
            f"看重 {down} 时应保留{first}",
        )
    return tr(
        f"a choice: step {step}{where} has a clearly lower validation loss and is clearly worse on "
        f"{down}; {first} is the one to keep where {down} counts",
        f"需要取舍：第 {step} 步{where}的验证损失显著更低，但 {down} 显著变差；"
        f"看重 {down} 时应保留{first}",
    )


def _validation_rose(tr: Language, facts: Facts) -> str:
    """What speaks against a step that is clearly better on tasks."""
    validation = validation_outcome(facts)
    if validation is None or validation.direction != "up":
        return ""
    return tr(
        "; its validation loss is clearly higher than at the first validation",
        "；但验证损失显著高于首次验证",
    )


def _against(tr: Language, found: Keep) -> str:
    """What the tasks say of a step that its validation loss speaks for."""
    if found.down:
        names = _plain_names(tr, found.down)
        return tr(f", but it is clearly worse on {names}", f"，但 {names} 显著变差")
    if found.up:
        names = _plain_names(tr, found.up)
        return tr(f", and it is clearly better on {names}", f"，且 {names} 显著提升")
    return ""


def _plain_names(tr: Language, tasks: tuple[str, ...]) -> str:
    return tr.join([md.text(task, 60) for task in tasks])
