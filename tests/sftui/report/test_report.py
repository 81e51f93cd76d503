"""The report: the reference write-up as a golden test, and whatever else people have."""

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from datetime import datetime

import pytest

from engine import config, fit
from engine import events as ev
from engine.errors import UsageError
from engine.journal.event_bus import EventBus
from engine.model.nanochat.gpt_config import GPTConfig
from engine.run import run_dir
from engine.run.lock import RunLock
from sftui import report
from sftui.cli import main
from sftui.compare import baseline
from sftui.report import typography
from sftui.report.meanings import CHINESE
from sftui.report.sections import memory
from sftui.sources import snapshot
from sftui.statistics.families import BASELINE, START
from sftui.statistics.paired_tests import CLEAR, NO_EVIDENCE, SUGGESTIVE
from sftui.statistics.scores import Scoreboard, score_lines
from tests.conftest import SHARED, needs_shared
from tests.processes import environment
from tests.sftui.report import reference_writeup


def markdown(target, lang="en", base=None):
    found = baseline.load(str(base)) if base is not None else None
    facts = report.open_facts(str(target), baseline=found, command="sftui report x")
    return report.markdown(facts, lang, stem="report")


def make(tmp_path, *events, name="demo", manifest=None):
    run = run_dir.create(tmp_path / "runs", name, datetime(2026, 1, 1))
    run.manifest.write_text(json.dumps(manifest or {}))
    bus = EventBus(run, run.id, 1, live=False)
    for event in events:
        bus.emit(event)
        if isinstance(event, ev.CheckpointSaved) and event.path is not None:
            (run.path / event.path).mkdir(parents=True, exist_ok=True)
    assert bus.close()
    return run


def section(text, number):
    """The body of one numbered section."""
    found = re.search(rf"^## {number}\. .*?\n\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    assert found is not None, number
    return found[1]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The reference write-up's report by language."""
    log, base = reference_writeup.write(tmp_path_factory.mktemp("reference"))
    return {lang: markdown(log, lang, base) for lang in ("en", "zh")}


GOLDEN = [
    # What, section, English, Chinese.
    ("parameters", 4, "**335,544,320**", "**335,544,320**"),
    ("matrices", 4, "201,326,592 (201.3 M)", "201,326,592 (201.3 M)"),
    ("tables", 4, "67,108,864 (67.1 M)", "67,108,864 (67.1 M)"),
    ("validation at 50", 9, "| 50 | 1.245711 | +0.001761 | +0.14 % |", "| +0.14 % |"),
    (
        "validation at 200",
        9,
        "| 200 | 1.251375 | +0.007425 | +0.60 % | +0.004849 | +0.39 % |",
        "| 200 | 1.251375 | +0.007425 | +0.60 % | +0.004849 | +0.39 % |",
    ),
    ("validation at the end", 9, "| +0.019413 | +1.56 % |", "| +0.019413 | +1.56 % |"),
    (
        "best validation",
        1,
        "The best is step 0: no later checkpoint beat the starting one.",
        "最好的是第 0 步：之后没有任何检查点胜过起始检查点。",
    ),
    (
        "MMLU first to last",
        11,
        "MMLU 24.32 % -> 26.46 %, +2.15 points from step 100, the first evaluation to step 1952 "
        "(95 % interval -1.6 .. +5.9, unpaired p .26): **no evidence**",
        "+2.15 个百分点（95 % 区间 -1.6 .. +5.9，非配对检验 p .26）：**证据不足**",
    ),
    (
        "ARC-Easy first to last",
        11,
        "unpaired p .045): **suggestive** (not clear after correction for the 2 tasks)",
        "非配对检验 p .045）：**仅有迹象**（经 2 个任务的多重比较校正后不显著）",
    ),
    ("ARC-Easy points", 11, "+3.91 points", "+3.91 个百分点"),
    ("the same in the verdict", 1, "+2.15 points", "+2.15 个百分点"),
    (
        "MMLU at 1500",
        11,
        "MMLU 26.86 % at step 1500 is the best of 8 looks, and the best of several is partly luck: "
        "no evidence",
        "MMLU 第 1500 步的 26.86 % 是 8 次评测中最好的，而从多次评测中挑出的最好值总带有运气成分："
        "与首次相比，证据不足",
    ),
    ("baseline MMLU", 15, "| 26.58 % | 26.46 % | -0.12 |", "| 26.58 % | 26.46 % | -0.12 |"),
    ("baseline ARC", 15, "| 27.74 % | 28.42 % | +0.68 |", "| 27.74 % | 28.42 % | +0.68 |"),
    ("baseline unpaired", 15, "unpaired p .94 | no evidence |", "非配对检验 p .94 | 证据不足 |"),
    ("baseline unpaired", 15, "unpaired p .68 | no evidence |", "非配对检验 p .68 | 证据不足 |"),
    (
        "granularity MMLU",
        15,
        "not comparable item by item: no count of 1,024 gives 26.58 %, so other questions were "
        "asked; 3732 or 3733 of 14042 does",
        "不能逐题比较：1,024 道题中没有任何答对数能得到 26.58 %，所以问的是别的题目；14042 题中"
        "答对 3732 或 3733 题可以",
    ),
    ("granularity ARC", 15, "659 of 2376 does", "2376 题中答对 659 题可以"),
    ("rows", 8, "| **20,843** |", "| **20,843** |"),
    ("rows by source", 8, "| GSM8K | 7,473 |", "| GSM8K | 7,473 |"),
    ("steps an epoch", 8, "651 steps an epoch", "每个轮次 651 步"),
    (
        "completion",
        12,
        "1,953 iterations planned, 1,952 updates done",
        "计划 1,953 次迭代，完成 1,952 次更新",
    ),
    ("epochs", 12, "2.997 epochs", "2.997 个轮次（epoch）"),
    ("finished", 12, "status: finished", "状态：已完成"),
    ("duration", 3, "| 33 min 58 s |", "| 33 分 58 秒 |"),
    ("start and end", 3, "| 14:54:57 |", "| 15:28:55 |"),
    ("schedule", 5, "linear to zero, no warm-up", "线性降到零，没有预热"),
    ("rates", 5, "| 8e-3 | 1.4e-4 |", "| 8e-3 | 1.4e-4 |"),
    (
        "distribution",
        6,
        "micro-batch 2 x ranks 2 x accumulation 8 = 32 rows a step",
        "= 每步 32 行",
    ),
    (
        "kind of loss",
        10,
        "the last micro-batch of rank 0 (2 rows)",
        "rank 0 的最后一个微批次（2 行）",
    ),
    ("first loss", 10, "first 1.056656", "首值 1.056656"),
    (
        "the range is no finding",
        10,
        "0.493076 .. 2.090418, are no measure of progress",
        "0.493076 .. 2.090418 不能衡量训练进展",
    ),
    (
        "two-point moves",
        1,
        "Two-point moves mean little here: with 1,024 questions one accuracy is only known to ±2.6",
        "在这里两个百分点的变化说明不了什么：1,024 道题时，一个准确率只能精确到 ±2.6 个百分点",
    ),
    ("what to keep", 1, "the starting one (mid d16 step 770)", "起始检查点 (mid d16 step 770)"),
    ("start not measured", 16, "The starting checkpoint was not evaluated", "没有评测起始检查点"),
]


@pytest.mark.parametrize(("what", "number", "english", "chinese"), GOLDEN)
def test_the_reference_write_up(reference, what, number, english, chinese):
    """Every line of the table that the hand-written report got wrong or left out."""
    assert english in section(reference["en"], number)
    # The table holds numbers as both languages begin with them; typography has its own test.
    assert typography.chinese(chinese) in section(reference["zh"], number)


def test_nothing_is_praised_that_is_not_clear(reference):
    """No `improved`, in neither language, and no move of a task called better."""
    assert not re.search(r"improv", reference["en"], re.IGNORECASE)
    assert not re.search(r"提升|提高|进步显著|改善", reference["zh"])
    assert "clearly better" not in section(reference["en"], 16)
    assert "显著好于" not in section(reference["zh"], 16)


def evaluated(*correct: int) -> tuple:
    """Evaluations of one task of 1000 questions, a hundred updates apart."""
    return tuple(
        ev.EvalFinished(step=100 * i, task="MMLU", correct=k, total=1000, chance=0.25)
        for i, k in enumerate(correct)
    )


@pytest.mark.parametrize(
    ("counts", "word", "says"),
    [
        ((250, 250, 250, 250, 500), CLEAR, ""),
        ((250, 252, 249, 251, 252), NO_EVIDENCE, ""),
        # A gain that the questions call clear, in a run that jumps as far up and down.
        ((250, 420, 230, 440, 240, 400), SUGGESTIVE, "checkpoints scatter as much"),
        # The newest against the start is a question of its own: the others do not count.
        ((250, 251, 250, 251, 291), CLEAR, ""),
    ],
)
def test_the_report_says_what_the_screen_says(tmp_path, counts, word, says):
    """One rule gives the word in both, whatever holds it back."""
    run = make(tmp_path, RUN[0], *evaluated(*counts), ev.RunFinished(status="finished"))
    facts = report.open_facts(str(run.path))
    screen = Scoreboard(run.path).scores(facts.state)
    assert {place: j.verdict for place, j in screen.cells.items()} == {
        place: j.verdict for place, j in facts.scores.cells.items()
    }
    last = 100 * (len(counts) - 1)
    assert screen.of("MMLU", last, START).verdict == word
    [line] = score_lines(Scoreboard(run.path), facts.state)
    text = section(markdown(run.path), 11)
    assert f"**{word}**" in text
    assert f": {word}, " in line
    assert says in text
    assert ("within the scatter" in line) == ("scatter" in says)


def test_the_golden_run_is_called_the_same_on_the_screen(tmp_path):
    """ARC-Easy of the reference run: suggestive in the table too, not `no evidence`."""
    log, _ = reference_writeup.write(tmp_path)
    state = snapshot.read(str(log)).state
    scores = Scoreboard().scores(state)
    assert scores.of("ARC-Easy", 1952, START).verdict == SUGGESTIVE
    assert scores.of("MMLU", 1952, START).verdict == NO_EVIDENCE


def test_a_percentage_without_its_count_gets_no_verdict_in_the_report_either(tmp_path):
    """However far away it is; the report says why its interval is none."""
    run = make(tmp_path, RUN[0], *evaluated(250, 600), ev.RunFinished(status="finished"))
    base = tmp_path / "base.toml"
    base.write_text("MMLU = 30.0\n")
    text = section(markdown(run.path, base=base), 15)
    assert "| no evidence |" in text
    assert "A percentage without its count earns no verdict" in text
    scores = Scoreboard(run.path, baseline.load(str(base))).scores(
        snapshot.read(str(run.path)).state
    )
    assert scores.of("MMLU", 100, BASELINE).verdict == NO_EVIDENCE


def test_both_languages_hold_the_same_numbers(reference):
    """Whatever is counted or measured in one is in the other, as often."""

    def numbers(text):
        # `.058` of English is `0.058` in Chinese.
        text = re.sub(r"(?<![\d.])\.(?=\d)", "0.", text)
        return Counter(re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text))

    for number in range(1, 18):
        english = numbers(section(reference["en"], number))
        chinese = numbers(section(reference["zh"], number))
        assert english == chinese, number


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_all_sections_are_there_in_order(reference, lang):
    """17 numbered ones and an appendix; an empty one says why."""
    found = re.findall(r"^## (\d+)\. ", reference[lang], re.MULTILINE)
    assert found == [str(number) for number in range(1, 18)]
    assert len(re.findall(r"^## ", reference[lang], re.MULTILINE)) == 18


def test_the_same_files_give_the_same_bytes(tmp_path):
    """Report and pictures: no date, no random id."""
    log, base = reference_writeup.write(tmp_path)
    facts = report.open_facts(str(log), baseline=baseline.load(str(base)))
    kept = []
    for folder in ("a", "b"):
        written = report.write(facts, tmp_path / folder / "report.md", "en")
        files = [written.report, *written.pictures]
        assert [f.name for f in files] == [
            "report.md",
            "report-loss.svg",
            "report-loss.png",
            "report-accuracy.svg",
            "report-accuracy.png",
        ]
        kept.append([file.read_bytes() for file in files])
    assert kept[0] == kept[1]
    assert kept[0][2].startswith(b"\x89PNG")
    for name in re.findall(r"\(([\w-]+\.(?:svg|png))\)", kept[0][0].decode()):
        assert (tmp_path / "a" / name).exists()


STARTED = ev.RunStarted(
    name="demo",
    num_iterations=5,
    num_parameters=12,
    world_size=2,
    backend="gloo",
    settings={"seed": 42, "target_examples_per_step": 8, "num_epochs": 1},
    mixture={"Chat": 32},
    rows=32,
)
RUN = (
    STARTED,
    ev.AttemptStarted(world_size=2),
    ev.ValidationFinished(step=0, loss=2.0, rows=10),
    ev.EvalFinished(step=0, task="MMLU", correct=250, total=1000, chance=0.25),
    *(
        ev.StepFinished(step=step, loss=2.0 - step / 4, tokens=100, supervised_tokens=40)
        for step in range(4)
    ),
)
END = (
    ev.ValidationFinished(step=4, loss=1.0, rows=10),
    ev.EvalFinished(step=4, task="MMLU", correct=500, total=1000, chance=0.25),
    ev.CheckpointSaved(step=4, path="ckpt/step-4"),
    ev.RunFinished(status="finished", updates=4),
)


def test_a_clear_gain_is_said_plainly(tmp_path):
    """Yes, which task, and the weights that have it."""
    text = markdown(make(tmp_path, *RUN, *END).path)
    verdict = section(text, 1)
    assert "Yes, on MMLU." in verdict
    assert "step 4 (`ckpt/step-4`): clearly better than the start on MMLU." in verdict
    assert "400 tokens in 4 updates" in section(text, 8)
    assert "160 supervised tokens, 40.00 %" in section(text, 8)


def test_full_rows_are_counted_in_token_places_and_conversations(tmp_path):
    """`target_examples_per_step` means nothing there: 8 would make this run one epoch of four."""
    told: dict[str, ev.Scalar] = {
        "conversations_per_update": 15.0,
        "grad_accum_steps": 1,
        "precision": "bfloat16",
    }
    settings: dict[str, ev.Scalar] = {
        "packing": "best-fit",
        "device_batch_size": 2,
        "max_seq_len": 512,
    }
    start = dataclasses.replace(
        STARTED, device="cpu", settings={**STARTED.settings, **settings}, effective=told
    )
    text = markdown(make(tmp_path, start, *RUN[1:], *END).path)
    assert "2 rows of 512 tokens x ranks 2 x accumulation 1 = 2,048 token places" in section(
        text, 6
    )
    assert "2 steps an epoch" in section(text, 8)
    assert "epochs really seen: 1.875 of 1" in section(text, 8)
    assert "rows a step" not in text
    assert "float32" not in text


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_run_without_an_end_says_so(tmp_path, lang):
    """What there is is reported, and the rest is not invented."""
    text = markdown(make(tmp_path, *RUN).path, lang)
    assert ("the run was interrupted" if lang == "en" else "中断") in section(text, 1).lower()
    assert re.findall(r"^## (\d+)\. ", text, re.MULTILINE) == [str(n) for n in range(1, 18)]


def test_a_running_run_is_reported_as_it_stands(tmp_path):
    """With the hint to write it again."""
    run = make(tmp_path, *RUN)
    with RunLock.acquire(run):
        text = markdown(run.path)
    assert "The run has not ended" in section(text, 1)
    assert "write this report again when it has ended" in section(text, 17)


def test_a_run_without_questions_is_not_asked_for_their_answers(tmp_path):
    """Its own measurements are no results that somebody forgot to read."""
    start = ev.RunStarted(name="x", num_iterations=9, settings={"eval_tasks": ""})
    moved = ev.MetricLogged(step=1, values={"train/update_ratio/decay": 0.01})
    path = make(tmp_path, start, ev.StepFinished(step=0, loss=1.0), moved).path
    text = markdown(path)
    assert "Not known: this run asked no questions (`--eval-tasks`)." in text
    assert "are not used" not in text


def test_a_lower_validation_keeps_the_checkpoint_that_has_it(tmp_path):
    """The best in the middle, when no task speaks for another; its file is named."""
    run = make(
        tmp_path,
        *RUN[:3],
        *RUN[4:6],
        ev.ValidationFinished(step=2, loss=1.0),
        ev.CheckpointSaved(step=2, path="ckpt/step-2"),
        *RUN[6:],
        ev.ValidationFinished(step=4, loss=1.5),
        ev.RunFinished(status="finished", updates=4),
    )
    assert "step 2 (`ckpt/step-2`): its validation loss is the lowest" in section(
        markdown(run.path), 1
    )


def test_pauses_restarts_and_controls_are_counted(tmp_path):
    """Who asked for what, and how long the run stood still."""
    run = make(
        tmp_path,
        *RUN[:6],
        ev.ControlApplied(step=2, id="1", command="pause", author="sam@tty"),
        ev.StateChanged(step=2, state="paused"),
        ev.StateChanged(step=2, state="running"),
        ev.AlarmRaised(step=1, kind="spike", severity="warn", text="a [loss](http://x) | <b>"),
        ev.RankLost(rank=1, reason="killed"),
    )
    lines = run.events.read_text().splitlines()
    for i, line in enumerate(lines):
        # Seconds apart, as a real run is.
        found = json.loads(line)
        found["t"], found["m"] = 1_000_000.0 + 10 * i, 100.0 + 10 * i
        lines[i] = json.dumps(found)
    run.events.write_text("\n".join(lines) + "\n")
    text = markdown(run.path)
    assert "| Paused | 10.0 s |" in section(text, 3)
    assert "| `pause` | `sam@tty` | applied | training stood still |" in section(text, 14)
    assert "a \\[loss\\]\\(http\\://x\\) \\| \\<b\\>" in section(text, 14)
    assert "rank 1 lost: killed" in section(text, 14)


def test_hostile_text_stays_text(tmp_path):
    """Names and lines from outside are neither markup nor commands nor mathematics."""
    task = "T`|\x1b[2J<script>alert(1)</script>$\\frac$@team 汉"
    run = make(
        tmp_path,
        ev.RunStarted(
            name="# x\n\n<img src=x>", source="[a](javascript:b)", settings={"a|`b": "`|"}
        ),
        ev.StepFinished(step=0, loss=1.0),
        ev.StepFinished(step=1, loss=math.nan),
        ev.StepFinished(step=2, loss=1.0),
        ev.EvalFinished(step=0, task=task, correct=1, total=4, letters={"<": 3}),
        ev.EvalFinished(step=3, task=task, correct=2, total=4, letters={"<": 3}),
        ev.SampleGenerated(step=0, prompt="```\n</pre>", text="~~~\n# no heading"),
    )
    facts = report.open_facts(str(run.path))
    written = report.write(facts, tmp_path / "out" / "report.md", "en")
    text = written.report.read_text()
    assert "\x1b" not in text
    spans = re.sub(r"(`+).*?\1", "", re.sub(r"^(`{3,})text\n.*?^\1$", "", text, flags=re.M | re.S))
    assert "<script" not in spans.replace("\\<script", "")
    assert "](javascript" not in spans
    assert not re.search(
        r"^# no heading", re.sub(r"^(`{3,})text\n.*?^\1$", "", text, flags=re.M | re.S), re.M
    )
    for row in re.findall(r"^\|.*\|$", text, re.MULTILINE):
        # Every table keeps its columns.
        assert len(re.findall(r"(?<!\\)\|", row)) >= 3
    for picture in written.pictures:
        if picture.suffix == ".svg":
            tags = {e.tag.split("}")[1] for e in ElementTree.parse(picture).iter()}
            assert "script" not in tags


def test_a_picture_of_a_short_or_broken_run_is_left_out(tmp_path):
    """One point is no curve; NaN is none."""
    run = make(tmp_path, RUN[0], ev.StepFinished(step=0, loss=math.nan))
    written = report.write(report.open_facts(str(run.path)), tmp_path / "r.md", "en")
    assert written.pictures == ()
    assert "fewer than two points" in section(written.report.read_text(), 2)


def test_every_setting_has_a_chinese_meaning():
    """A setting that is added needs one."""
    assert set(CHINESE) == set(config.setting_names())


def test_every_part_of_the_memory_has_a_chinese_name():
    """As `fit` names them, in every kind of plan."""
    shape = GPTConfig(sequence_len=64, vocab_size=128, n_layer=2, n_head=2, n_kv_head=2, n_embd=64)
    for mixed in (True, False):
        for tokens in (1, 4096):
            plan = fit.MemoryPlan(
                shape=shape,
                tokens=tokens,
                mixed=mixed,
                world_size=2,
                gradient_buckets=True,
                checkpoint_copies=True,
            )
            assert {part for part, _, _ in fit.table(plan)} <= set(memory.PARTS)


def test_the_command_writes_where_it_says(tmp_path, monkeypatch, capsys):
    """Into the run's folder; of a log, here; `-o` names another place."""
    run = make(tmp_path, *RUN, *END)
    monkeypatch.chdir(tmp_path)
    log, base = reference_writeup.write(tmp_path)
    assert main(["report", run.id]) == 0
    assert (run.path / "report.md").exists()
    assert main(["report", str(log), "--baseline", str(base), "--lang", "zh"]) == 0
    assert (tmp_path / "reference.report.zh.md").read_text().startswith("# 报告")
    assert main(["report", str(log), "-o", "sub/own.md"]) == 0
    assert (tmp_path / "sub" / "own-loss.svg").exists()
    assert "own.md" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "nothing"], "nothing"),
        (["report", "--lang", "fr"], "--lang 'fr'"),
        (["report", "reference.log", "-o", "base.toml/x.md"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, words, said):
    """Exit code 2, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    reference_writeup.write(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


LOGS = sorted(p for p in (SHARED / "logs").rglob("*") if p.is_file()) if SHARED.is_dir() else []


@needs_shared
@pytest.mark.parametrize("path", LOGS, ids=lambda p: p.name)
def test_every_real_log_gets_a_report(path):
    """Whatever trainer it is of: all sections, or why they are left out."""
    try:
        facts = report.open_facts(str(path))
    except UsageError:
        pytest.skip("not a log")
    for lang in ("en", "zh"):
        text = report.markdown(facts, lang, stem="x")
        assert re.findall(r"^## (\d+)\. ", text, re.MULTILINE) == [str(n) for n in range(1, 18)]


def test_a_report_leaves_a_pipe_where_it_is(tmp_path, capsys):
    """As root it took /dev/null from the whole machine: a rename put a file there."""
    os.mkfifo(tmp_path / "pipe")
    log = tmp_path / "run.log"
    log.write_text("".join(f"step {i} loss {3 - i / 100}\n" for i in range(30)))
    assert main(["report", str(log), "-o", str(tmp_path / "pipe")]) == 2
    assert "it is a pipe; expected a file" in capsys.readouterr().err
    assert (tmp_path / "pipe").is_fifo()


def test_a_home_that_cannot_be_written_costs_no_words(tmp_path):
    """matplotlib told of the folder that it could not make, and of the one that it took."""
    log = tmp_path / "run.log"
    log.write_text("\n".join(f"step {i} loss {3 - i / 100}" for i in range(50)))
    env = {k: v for k, v in environment().items() if not k.startswith(("XDG_", "MPL"))}
    done = subprocess.run(
        [sys.executable, "-m", "sftui", "report", str(log), "-o", str(tmp_path / "r.md")],
        env=env | {"HOME": str(log / "nobody")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line for line in done.stderr.splitlines() if not line.startswith("sftui: ")] == []
    assert (tmp_path / "r-loss.svg").exists()
