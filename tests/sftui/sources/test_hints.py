"""What a person says of a log, what is said of the lines nobody could read, and reading again."""

import json
import os
import time

import pytest

from engine.errors import UsageError
from engine.events import LogLine, StepFinished, ValidationFinished
from sftui.cli import main
from sftui.logbook import event_lines as words
from sftui.readers.leftovers import MOST_SHAPES
from sftui.readers.plain_text import PlainTextReader
from sftui.readers.printed import PrintedReader
from sftui.sources.open_log import open_replay, read_whole
from sftui.state.run_state import RunState
from tests.sftui.readers.reader_checks import flat, of, read_by

ODD = "tick 10 closs 2.5 zeta 3\ntick 20 closs 2.25 zeta 3\ntick 30 closs 2.0 zeta 3\n"


def losses(opened) -> list[tuple[int, float]]:
    stage = opened.recording.stages[-1]
    events = flat(stage.timeline.events(0, len(stage.timeline)))
    return [(e.step, e.loss) for e in of(StepFinished, events)]


def test_names_that_mean_nothing_are_told_by_a_person_once(tmp_path):
    """Refused with what was found; read with --map; and the next time without it."""
    log = tmp_path / "odd.log"
    log.write_text(ODD)
    with pytest.raises(UsageError, match=r"3 like 'tick # closs # zeta #'.*--map step=NAME"):
        read_whole(str(log))
    expected = [(10, 2.5), (20, 2.25), (30, 2.0)]
    assert losses(read_whole(str(log), mapped="step=tick,train.loss=closs")) == expected
    assert losses(read_whole(str(log))) == expected
    assert json.loads((tmp_path / "odd.log.sftui.json").read_text())["map"]["step"] == "tick"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_beside_a_log_that_cannot_be_written_to_hints_go_to_the_users_state(tmp_path, monkeypatch):
    folder = tmp_path / "read only"
    folder.mkdir()
    (folder / "odd.log").write_text(ODD)
    folder.chmod(0o555)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    read_whole(str(folder / "odd.log"), mapped="step=tick,train.loss=closs")
    assert len(losses(read_whole(str(folder / "odd.log")))) == 3
    assert len(list((tmp_path / "state").rglob("*.json"))) == 1


@pytest.mark.parametrize(
    ("name", "text", "mapped"),
    [
        ("rows.jsonl", '{"n": 1, "z": 2.5}\n{"n": 2, "z": 2.25}\n', "step=n,train.loss=z"),
        ("table.csv", "n,z\n1,2.5\n2,2.25\n", "step=n,train.loss=z"),
        ("loss.log", "step 1 loss 9 main 2.5\nstep 2 loss 9 main 2.25\n", "train.loss=main"),
    ],
)
def test_rows_and_tables_take_names_too(tmp_path, name, text, mapped):
    """A name that is told goes before one that is known."""
    (tmp_path / name).write_text(text)
    assert losses(read_whole(str(tmp_path / name), mapped=mapped)) == [(1, 2.5), (2, 2.25)]


@pytest.mark.parametrize("words", [["--map", "step"], ["--map", "weight=x"], ["--format", "tea"]])
def test_what_cannot_be_meant_is_the_users_mistake(tmp_path, words, capsys):
    (tmp_path / "a.log").write_text(ODD)
    assert main(["show", str(tmp_path / "a.log"), *words]) == 2
    assert words[0] in capsys.readouterr().err


def test_lines_that_held_numbers_and_gave_none_are_counted(tmp_path, capsys):
    """show names their three commonest shapes, the JSON and the screen's log too."""
    text = "".join(f"step {s} loss 2.{s}\nwrote {s} of 9 shards\n" for s in range(1, 6))
    log = tmp_path / "a.log"
    log.write_text(text + "cache 7 MB hot\nno number here\n")
    assert main(["show", str(log)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "6 lines held numbers and gave none: 5 like 'wrote # of # shards'" in out
    assert main(["show", str(log), "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)["lines"]
    assert (lines["total"], lines["read"], lines["with_numbers"]) == (12, 5, 6)
    assert lines["shapes"][0] == {"shape": "wrote # of # shards", "count": 5}
    stage = read_whole(str(log)).recording.stages[-1]
    texts = [e.text for e in of(LogLine, list(stage.timeline.events(0, len(stage.timeline))))]
    assert "held numbers and gave none" in texts[-1]


def test_a_log_that_invents_words_does_not_eat_memory():
    reader = PlainTextReader()
    for number in range(3 * MOST_SHAPES):
        word = "".join(chr(97 + int(digit)) for digit in str(number))
        reader.feed(f"{word} took {number}\n".encode())
    assert len(reader.lines.shapes) <= MOST_SHAPES
    assert reader.lines.with_numbers == 3 * MOST_SHAPES


def test_what_later_lines_overturn_is_read_again_and_said(tmp_path):
    """A loss of evaluations is taken for training's until training's own comes."""
    first = "".join(f"step {s}: train loss 2.5, val loss 2.{s}\n" for s in (10, 20))
    log = tmp_path / "a.log"
    log.write_text(first)
    opened = open_replay(str(log), follow=True)
    source = opened.source
    try:
        state, generation = RunState(), source.generation
        for event in source.poll():
            state.apply(event)
        assert state.steps.column("loss").tolist() == [2.5, 2.5]
        with log.open("a") as file:
            file.write("".join(f"iter {s}: loss 1.5, time 9ms\n" for s in range(21, 60)))
        deadline, events = time.monotonic() + 10, []
        while source.generation == generation:
            assert time.monotonic() < deadline, "the log was not read again"
            time.sleep(0.02)
            events = source.poll()
        state = RunState()
        for event in events:
            state.apply(event)
        assert set(state.steps.column("loss").tolist()[:1]) != {2.5}
        assert sorted(state.validations) == [10, 20]
        assert "read again from its start: 'loss' is the training loss" in source.describe()
    finally:
        source.close()


def test_a_reading_is_overturned_a_few_times_at_most():
    """A log that contradicts itself for ever is read to its end all the same."""
    names = ["loss", "train_loss", "lm_loss", "batch_loss", "avg_loss", "total_loss", "ce_loss"]
    text = "".join(
        f"step {s} {name}: 2.0\n"
        for i, name in enumerate(names * 3)
        for s in range(4**i, 4**i + 9 * 2 ** min(i, 8))
    )
    reader, events = read_by(PlainTextReader, text.encode())
    assert isinstance(reader, PrintedReader)
    assert of(StepFinished, events)


def test_a_named_validation_set_is_shown_by_its_name(tmp_path, capsys):
    """show and its JSON, and the words of the log pane."""
    rows = [{"step": s, "loss": 2.0} for s in (1, 2)]
    rows += [{"step": 2, "eval_wiki_loss": 2.5, "eval_code_loss": 1.5}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["show", str(tmp_path / "a.jsonl")]) == 0
    out = capsys.readouterr().out
    assert "validation wiki 2.5000 (step 2)" in out
    assert "validation code 1.5000 (step 2)" in out
    assert main(["show", str(tmp_path / "a.jsonl"), "--json"]) == 0
    val = json.loads(capsys.readouterr().out)["stages"][0]["val"]
    assert [(v["set"], v["value"]) for v in val] == [("wiki", 2.5), ("code", 1.5)]
    stage = read_whole(str(tmp_path / "a.jsonl")).recording.stages[-1]
    named = of(ValidationFinished, list(stage.timeline.events(0, len(stage.timeline))))
    assert "val wiki" in words.entry(named[0]).text
