"""Sections 1 to 3: the verdict, the pictures, the card of the run."""

from __future__ import annotations

import shlex
import time

from engine.config import RunConfig
from engine.journal.run_log import NANOCHAT_DEFAULTS
from sftui.report import markdown as md
from sftui.report.findings import Finding
from sftui.report.language import Tongue
from sftui.report.report_facts import Case
from sftui.report.sentences import better_line, keep_line, percent, validation_line


def verdict(say: Tongue, case: Case, found: list[Finding]) -> str:
    """Five lines: what a person wants to know who reads nothing else."""
    return md.numbered(
        [
            better_line(say, case),
            validation_line(say, case),
            _abnormal(say, case),
            keep_line(say, case),
            _next(say, found),
        ]
    )


def _abnormal(say: Tongue, case: Case) -> str:
    head = say("**Anything abnormal?** ", "**有无异常？** ")
    parts = []
    if case.status == "running":
        parts.append(
            say(
                "the run has not ended; all that follows is its state now",
                "运行尚未结束，以下只是当前状态",
            )
        )
    elif case.status in ("failed", "interrupted", "stopped", "paused"):
        reason = f": {md.code(case.state.reason, 200)}" if case.state.reason else ""
        parts.append(
            say(f"the run is {case.status}{reason}", f"运行状态为{say.status(case.status)}{reason}")
        )
    elif case.status == "unknown":
        parts.append(say("the log does not say how the run ended", "日志没有说明运行如何结束"))
    errors = sorted({alarm.kind for alarm in case.tally.alarms})
    if errors:
        names = say.join([md.code(kind, 60) for kind in errors])
        parts.append(say(f"alarms: {names} (section 14)", f"警报：{names}（见第 14 节）"))
    if len(case.tally.attempts) > 1:
        parts.append(
            say(f"{len(case.tally.attempts)} attempts", f"启动了 {len(case.tally.attempts)} 次")
        )
    if case.tally.losses:
        parts.append(
            say(f"{len(case.tally.losses)} ranks lost", f"丢失了 {len(case.tally.losses)} 个进程")
        )
    if case.state.nonfinite:
        parts.append(
            say(
                f"{case.state.nonfinite} updates without a finite loss",
                f"{case.state.nonfinite} 次更新的损失不是有限数",
            )
        )
    if case.state.dropped:
        parts.append(
            say(
                f"{case.state.dropped:,} events were dropped",
                f"丢弃了 {case.state.dropped:,} 个事件",
            )
        )
    if not parts:
        return head + say("Nothing that was recorded.", "记录中没有。")
    text = say("; ", "；").join(parts)
    return head + text[0].upper() + text[1:] + say(".", "。")


def _next(say: Tongue, found: list[Finding]) -> str:
    steps = [f for f in found if f.kind == "next"][:3]
    head = say("**What next?** ", "**下一步？** ")
    if not steps:
        return head + say("No rule has anything to propose.", "没有规则给出建议。")
    return head + say.sentences(
        [f.text.rstrip("。.") + say(f" ({f.evidence}).", f"（{f.evidence}）。") for f in steps]
    )


def picture(say: Tongue, names: dict[str, str]) -> str | None:
    """The drawn files, each as SVG that leads to its PNG."""
    words = {
        "loss": say(
            "Training loss (pale: as logged; line: smoothed) and "
            "validation loss, with marks for alarms, controls and checkpoints",
            "训练损失（浅色：原始记录；线：平滑后）与验证损失，并标出警报、控制和检查点",
        ),
        "accuracy": say(
            "Accuracy by step with 95 % intervals; dashed: chance",
            "各步准确率及 95 % 区间；虚线：随机水平",
        ),
    }
    parts = [
        f"[![{words[key]}]({name}.svg)]({name}.png)\n\n*{words[key]}{say('.', '。')}*"
        for key, name in names.items()
    ]
    return "\n\n".join(parts) or None


def run_card(say: Tongue, case: Case) -> str:
    """What was run, when, where and from what."""
    state, manifest = case.state, case.manifest
    rows: list[tuple[str, str]] = []

    def put(english: str, chinese: str, value: str | None) -> None:
        if value:
            rows.append((say(english, chinese), value))

    put("Name", "名称", md.code(case.shot.title, 200))
    put("Status", "状态", say.status(case.status))
    put("Date", "日期", _date(state.first_t))
    put("Start", "开始", _time(state.first_t))
    put(
        "End",
        "结束",
        _time(state.last_t)
        if state.ended
        else say("not yet", "尚未结束")
        if case.status == "running"
        else _time(state.last_t),
    )
    put("Duration", "用时", say.span(case.seconds) if case.seconds is not None else None)
    if case.tally.paused_seconds:
        put("Paused", "其中暂停", say.span(case.tally.paused_seconds))
    if case.tally.lost_seconds:
        put("Lost to restarts", "重启损失的时间", say.span(case.tally.lost_seconds))
    command = manifest.get("command")
    if isinstance(command, list) and all(isinstance(word, str) for word in command):
        put("Command", "命令", md.code(shlex.join(command), 1000))
    put("Stage", "阶段", md.text(case.stage_name, 60) + _stages(say, case))
    put("Starting checkpoint", "起始检查点", _start(say, case))
    put("Its own scores", "它自身的成绩", _start_scores(say, case))
    put("Log", "日志", _log(say, case))
    put(
        "Read as",
        "识别为",
        say(f"{md.text(case.shot.format, 60)}", f"{md.text(case.shot.format, 60)}"),
    )
    put("Machine", "机器", _machine(say, case))
    versions = manifest.get("versions")
    if isinstance(versions, dict):
        put("Versions", "版本", md.code(" ".join(f"{k} {v}" for k, v in versions.items())))
    seed = case.settings.get("seed")
    put("Seed", "随机种子", str(seed) if isinstance(seed, int) else None)
    for name, english, chinese in (
        ("config_sha256", "Settings SHA-256", "设置 SHA-256"),
        ("tokenizer_sha256", "Tokenizer SHA-256", "分词器 SHA-256"),
    ):
        digest = manifest.get(name)
        put(english, chinese, md.code(digest, 64) if isinstance(digest, str) else None)
    sets = _item_sets(case)
    put("Question sets", "题目集", sets)
    body = md.table([say("what", "项目"), say("value", "值")], rows)
    parts = [body, _changed(say, case), _against(say, case)]
    missing = _missing(say, case)
    return "\n\n".join(part for part in [*parts, missing] if part)


def _date(t: float | None) -> str | None:
    try:
        return None if t is None else time.strftime("%Y-%m-%d", time.localtime(t))
    except (ValueError, OverflowError, OSError):
        return None


def _time(t: float | None) -> str | None:
    try:
        return None if t is None else time.strftime("%H:%M:%S", time.localtime(t))
    except (ValueError, OverflowError, OSError):
        return None


def _stages(say: Tongue, case: Case) -> str:
    if len(case.shot.stages) < 2:
        return ""
    names = say.join([md.text(stage.name, 40) for stage in case.shot.stages])
    return say(
        f" (of {len(case.shot.stages)}: {names})", f"（共 {len(case.shot.stages)} 个：{names}）"
    )


def _start(say: Tongue, case: Case) -> str | None:
    start = case.manifest.get("start")
    label = case.run.source if case.run is not None else None
    if isinstance(start, dict) and isinstance(start.get("label"), str):
        label = start["label"]
    return md.text(label, 100) if label else None


def _start_scores(say: Tongue, case: Case) -> str | None:
    parts = []
    first = case.state.validations.get(0)
    if first is not None:
        parts.append(say(f"validation {first.loss:.6f}", f"验证损失 {first.loss:.6f}"))
    for task, by_step in case.state.evals.items():
        if 0 in by_step:
            found = by_step[0]
            counts = f"{found.correct}/{found.total} = " if found.total else ""
            parts.append(
                f"{md.text(task, 40)} {counts}{percent(case.board.evaluation(found).value)}"
            )
    return say.join(parts) or None


def _log(say: Tongue, case: Case) -> str | None:
    shot = case.shot
    path = shot.run.run_log if shot.run is not None else shot.path
    try:
        size = f"{path.stat().st_size:,}"
    except OSError:
        size = "?"
    read = shot.lines_total - shot.lines_unrecognised
    if shot.run is not None:
        return md.code(path.name) + say(
            f", {size} bytes; {shot.lines_total:,} events",
            f"，{size} 字节；{shot.lines_total:,} 个事件",
        )
    return md.code(path.name) + say(
        f", {shot.lines_total:,} lines, {size} bytes; {read:,} lines understood",
        f"，{shot.lines_total:,} 行，{size} 字节；读懂 {read:,} 行",
    )


def _machine(say: Tongue, case: Case) -> str | None:
    run = case.run
    if run is None or case.machine is None:
        return None
    world_size, device = case.machine
    names = sorted({r.device_name for r in case.tally.ranks.values() if r.device_name})
    hosts = sorted({r.host for r in case.tally.ranks.values() if r.host})
    text = say(
        f"{world_size} rank{'s' if world_size > 1 else ''} on {md.text(device, 20)}",
        f"{md.text(device, 20)} 上的 {world_size} 个进程",
    )
    if run.backend:
        text += f" ({md.text(run.backend, 20)})"
    for words in (names, hosts[:4]):
        if words:
            text += say(", ", "，") + say.join([md.code(word, 60) for word in words])
    return text


def _item_sets(case: Case) -> str | None:
    parts = []
    for task, by_step in case.state.evals.items():
        digest = by_step[max(by_step)].item_set
        if digest:
            parts.append(f"{md.text(task, 40)} {md.code(digest[:16], 16)}")
    return ", ".join(parts) or None


def _changed(say: Tongue, case: Case) -> str | None:
    """Settings that differ from the defaults."""
    defaults = RunConfig().flat() if case.is_ours else NANOCHAT_DEFAULTS if case.is_nanochat else {}
    rows = []
    for name, value in case.settings.items():
        default = defaults.get(name)
        if isinstance(default, tuple):
            default = ",".join(default)
        if name in defaults and value != default and name != "run":
            rows.append((f"`{name}`", _plain(default), _plain(value)))
    if not rows:
        return None
    head = [say("setting", "设置"), say("default", "默认"), say("this run", "本次")]
    return (
        say("Settings that differ from the defaults:", "与默认值不同的设置：")
        + "\n\n"
        + md.table(head, rows)
    )


def _against(say: Tongue, case: Case) -> str | None:
    """Settings that differ from the run that the baseline is."""
    if case.against is None or case.against.state.run is None:
        return None
    theirs = case.against.state.run.settings
    rows = [
        (f"`{md.text(name, 60)}`", _plain(theirs.get(name)), _plain(case.settings.get(name)))
        for name in sorted({*theirs, *case.settings})
        if theirs.get(name) != case.settings.get(name) and name != "run"
    ]
    if not rows:
        return say("All settings are those of the baseline run.", "所有设置与基线运行相同。")
    head = [say("setting", "设置"), say("baseline run", "基线运行"), say("this run", "本次")]
    return (
        say("Settings that differ from the baseline run:", "与基线运行不同的设置：")
        + "\n\n"
        + md.table(head, rows)
    )


def _plain(value: object) -> str:
    return "-" if value is None or value == "" else md.code(str(value), 200)


def _missing(say: Tongue, case: Case) -> str | None:
    if case.is_ours:
        return None
    return (
        "*"
        + say(
            "Left out, because the log does not hold it: the command, versions, seeds and hashes of the data.",
            "日志中没有、因此略去：命令、版本、随机种子和数据的哈希。",
        )
        + "*"
    )
