"""Run card: what was run, when, where and from what."""

from __future__ import annotations

import shlex
import time

from engine.config import RunConfig
from engine.journal.run_log import NANOCHAT_DEFAULTS
from sftui.readers.printed import STEPS_COUNTED
from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.sentences import (
    percent,
)


def run_card(tr: Language, facts: Facts) -> str:
    """What was run, when, where and from what."""
    state, manifest = facts.state, facts.manifest
    rows: list[tuple[str, str]] = []

    def put(english: str, chinese: str, value: str | None) -> None:
        if value:
            rows.append((tr(english, chinese), value))

    put("Name", "名称", md.code(facts.shot.title, 200))
    put("Status", "状态", tr.status(facts.status))
    put("Date", "日期", _date(state.first_t))
    put("Start", "开始", _time(state.first_t))
    put(
        "End",
        "结束",
        _time(state.last_t)
        if state.ended
        else tr("not yet", "尚未结束")
        if facts.status == "running"
        else _time(state.last_t)
        if state.last_t != state.first_t  # one time of day says when, and not until when
        else None,
    )
    span = tr.span(facts.seconds) if facts.seconds is not None else None
    if _told_other_than_the_clock(facts):
        put("Duration, as the log gives it", "用时（日志所述）", span)
    else:
        put("Duration", "用时", span)
    if facts.counts.paused_seconds:
        put("Paused", "其中暂停", tr.span(facts.counts.paused_seconds))
    if facts.counts.lost_seconds:
        put("Lost to restarts", "重启损失的时间", tr.span(facts.counts.lost_seconds))
    command = manifest.get("command")
    if isinstance(command, list) and all(isinstance(word, str) for word in command):
        put("Command", "命令", md.code(shlex.join(command), 1000))
    put("Trainer", "训练程序", md.text(state.trainer, 100) if state.trainer else None)
    if not state.trainer:
        put("Stage", "阶段", md.text(facts.stage_name, 60) + _stages(tr, facts))
    put("Starting checkpoint", "起始检查点", _start(tr, facts))
    put("Its own scores", "它自身的成绩", _start_scores(tr, facts))
    put("Log", "日志", _log(tr, facts))
    put(
        "Read as",
        "识别为",
        tr(
            md.text(facts.shot.format, 60),
            "sftui 运行目录" if facts.shot.run is not None else _format_in_chinese(facts),
        ),
    )
    put("Machine", "机器", _machine(tr, facts))
    versions = manifest.get("versions")
    if isinstance(versions, dict):
        put("Versions", "版本", md.code(" ".join(f"{k} {v}" for k, v in versions.items())))
    seed = facts.settings.get("seed")
    put("Seed", "随机种子", str(seed) if isinstance(seed, int) else None)
    for name, english, chinese in (
        ("config_sha256", "Settings SHA-256", "设置 SHA-256"),
        ("tokenizer_sha256", "Tokenizer SHA-256", "分词器 SHA-256"),
    ):
        digest = manifest.get(name)
        put(english, chinese, md.code(digest, 64) if isinstance(digest, str) else None)
    sets = _item_sets(facts)
    put("Question sets", "题目集", sets)
    body = md.table([tr("what", "项目"), tr("value", "值")], rows)
    parts = [body, _changed(tr, facts), _against(tr, facts)]
    missing = _missing(tr, facts)
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


_MOST_STAGES = 40
"""Of a log, that are named."""


def _stages(tr: Language, facts: Facts) -> str:
    if len(facts.shot.stages) < 2:
        return ""
    count = len(facts.shot.stages)
    told = facts.shot.told(_MOST_STAGES)
    names = [md.text(facts.shot.stages[number].name, 40) for number in told]
    if hidden := count - len(told):
        names.insert(_MOST_STAGES // 2, tr(f"{hidden} more", f"另有 {hidden} 个"))
    listed = tr.join(names)
    return tr(f" (of {count}: {listed})", f"（共 {count} 个：{listed}）")


def _start(tr: Language, facts: Facts) -> str | None:
    start = facts.manifest.get("start")
    label = facts.run.source if facts.run is not None else None
    if isinstance(start, dict) and isinstance(start.get("label"), str):
        label = start["label"]
    return md.text(label, 100) if label else None


def _start_scores(tr: Language, facts: Facts) -> str | None:
    parts = []
    first = facts.state.validations.get(0)
    if first is not None:
        parts.append(tr(f"validation {first.loss:.6f}", f"验证损失 {first.loss:.6f}"))
    for task, by_step in facts.state.evals.items():
        if 0 in by_step:
            found = by_step[0]
            counts = f"{found.correct}/{found.total} = " if found.total else ""
            parts.append(
                f"{md.text(task, 40)} {counts}{percent(facts.board.evaluation(found).value)}"
            )
    return tr.join(parts) or None


def _log(tr: Language, facts: Facts) -> str | None:
    shot = facts.shot
    path = shot.run.run_log if shot.run is not None else shot.path
    try:
        size = f"{path.stat().st_size:,}"
    except OSError:
        size = "?"
    read = shot.lines_total - shot.lines_unrecognised
    if shot.run is not None:
        return md.code(path.name) + tr(
            f", {size} bytes; {shot.lines_total:,} events",
            f"，{size} 字节；{shot.lines_total:,} 个事件",
        )
    return md.code(path.name) + tr(
        f", {shot.lines_total:,} lines, {size} bytes; {read:,} lines understood",
        f"，{shot.lines_total:,} 行，{size} 字节；识别 {read:,} 行",
    )


def _machine(tr: Language, facts: Facts) -> str | None:
    run = facts.run
    if run is None or facts.machine is None:
        return None
    world_size, device = facts.machine
    names = sorted({r.device_name for r in facts.counts.ranks.values() if r.device_name})
    hosts = sorted({r.host for r in facts.counts.ranks.values() if r.host})
    text = tr(
        f"{world_size} rank{'s' if world_size > 1 else ''} on {md.text(device, 20)}",
        f"{md.text(device, 20)} 上的 {world_size} 个进程",
    )
    if run.backend:
        text += f" ({md.text(run.backend, 20)})"
    for words in (names, hosts[:4]):
        if words:
            text += tr(", ", "，") + tr.join([md.code(word, 60) for word in words])
    return text


def _item_sets(facts: Facts) -> str | None:
    parts = []
    for task, by_step in facts.state.evals.items():
        digest = by_step[max(by_step)].item_set
        if digest:
            parts.append(f"{md.text(task, 40)} {md.code(digest[:16], 16)}")
    return ", ".join(parts) or None


def _format_in_chinese(facts: Facts) -> str:
    name = facts.shot.format.removesuffix(STEPS_COUNTED)
    return md.text(name, 60) + (
        "（步数由计数得出：日志未打印）" if name != facts.shot.format else ""
    )


def _told_other_than_the_clock(facts: Facts) -> bool:
    """Whether the log's own duration (often of the training alone) is not end minus start."""
    state = facts.state
    if facts.seconds is None or state.first_t is None or state.last_t is None:
        return False
    by_clock = state.last_t - state.first_t
    return by_clock > 0 and abs(by_clock - facts.seconds) > max(2.0, 0.01 * by_clock)


def _changed(tr: Language, facts: Facts) -> str | None:
    """Settings that differ from the defaults."""
    defaults = (
        RunConfig().flat() if facts.is_ours else NANOCHAT_DEFAULTS if facts.era == "2025" else {}
    )
    rows = []
    for name, value in facts.settings.items():
        default = defaults.get(name)
        if isinstance(default, tuple):
            default = ",".join(default)
        if name in defaults and value != default and name != "run":
            rows.append((f"`{name}`", _plain(default), _plain(value)))
    if not rows:
        return None
    head = [tr("setting", "设置"), tr("default", "默认"), tr("this run", "本次")]
    return (
        tr("Settings that differ from the defaults:", "与默认值不同的设置：")
        + "\n\n"
        + md.table(head, rows)
    )


def _against(tr: Language, facts: Facts) -> str | None:
    """Settings that differ from the run that the baseline is."""
    if facts.against is None or facts.against.state.run is None:
        return None
    theirs = facts.against.state.run.settings
    rows = [
        (f"`{md.text(name, 60)}`", _plain(theirs.get(name)), _plain(facts.settings.get(name)))
        for name in sorted({*theirs, *facts.settings})
        if theirs.get(name) != facts.settings.get(name) and name != "run"
    ]
    if not rows:
        return tr("All settings are those of the baseline run.", "所有设置与基线运行相同。")
    head = [tr("setting", "设置"), tr("baseline run", "基线运行"), tr("this run", "本次")]
    return (
        tr("Settings that differ from the baseline run:", "与基线运行不同的设置：")
        + "\n\n"
        + md.table(head, rows)
    )


def _plain(value: object) -> str:
    return "-" if value is None or value == "" else md.code(str(value), 200)


def _missing(tr: Language, facts: Facts) -> str | None:
    if facts.shot.run is not None:
        return None
    return (
        "*"
        + tr(
            "Left out, because the log does not hold it: the command, versions, seeds and hashes of the data.",
            "日志中没有，故略去：命令、版本、随机种子和数据的哈希。",
        )
        + "*"
    )
