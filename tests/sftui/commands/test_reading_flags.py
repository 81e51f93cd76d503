"""`--format`, `--map` and `--stage` mean the same on every command that reads a log."""

import json

import pytest

from sftui import cli
from sftui.commands import completion
from sftui.commands.shared_flags import LOG, LogFlags
from tests.sftui.logbook.test_logbook import nanochat_log

LINES = """\
step: 0, loss: 9.5, lr: 0.1
step: 1, loss: 9.0, lr: 0.1
step: 2, loss: 8.5, lr: 0.1
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.log").write_text(LINES)
    (tmp_path / "b.log").write_text(LINES.replace("9.0", "7.0"))
    return tmp_path


WAYS = {
    "show": ["show", "a.log", "--json"],
    "series": ["show", "a.log", "--series", "loss"],
    "report": ["report", "a.log", "-o", "r.md"],
    "compare": ["compare", "a.log", "b.log", "--json"],
    "compare seeds": ["compare", "a.log,b.log", "b2.log", "--json"],
    "replay": ["replay", "a.log", "--headless"],
}


@pytest.mark.parametrize("words", WAYS.values(), ids=WAYS)
def test_a_format_that_is_none_is_refused_by_name_everywhere(folder, capsys, words):
    """The flag reaches the reader: its error names the formats there are."""
    (folder / "b2.log").write_text(LINES)
    assert cli.main([*words, "--format", "tea-leaves"]) == 2
    said = capsys.readouterr().err
    assert "tea-leaves" in said
    assert "hf-trainer" in said


@pytest.mark.parametrize("words", WAYS.values(), ids=WAYS)
def test_a_stage_that_is_not_there_is_refused_everywhere(folder, capsys, words):
    """With the stages that the file has."""
    (folder / "b2.log").write_text(LINES)
    assert cli.main([*words, "--stage", "9"]) == 2
    assert "there is no stage 9; the file has 1 " in capsys.readouterr().err


@pytest.mark.parametrize("words", WAYS.values(), ids=WAYS)
def test_the_same_log_is_read_as_said_everywhere(folder, capsys, words):
    """Forced and mapped, every command succeeds on what it refuses when left alone."""
    odd = "tick: 1, closs: 2.5\ntick: 2, closs: 2.25\ntick: 3, closs: 2.0\n"
    for name in ("a.log", "b.log", "b2.log"):
        (folder / name).write_text(odd)
    assert cli.main([*words, "--map", "step=tick,train.loss=closs"]) == 0
    out = capsys.readouterr().out
    if words[0] in ("show", "replay"):
        assert "2.25" in out or "2.5" in out


def test_the_stage_that_is_named_is_the_one_shown(folder, capsys):
    """`show` and `compare` take the first program of a log whose SFT comes later."""
    two = folder / "two.log"
    two.write_text(nanochat_log(60, stages=2))
    assert cli.main(["show", "two.log", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["stages"]) == 2, found
    for number in ("1", "2"):
        assert cli.main(["show", "two.log", "--series", "loss_micro_last", "--stage", number]) == 0
        rows = capsys.readouterr().out.splitlines()
        assert rows[1] == ("0,3.0" if number == "1" else "0,4.0"), (number, rows)
    words = ["compare", "two.log", "two.log", "--json", "--stage", "1,2"]
    assert cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    firsts = [found[side]["stage"]["train_loss"]["first"] for side in "ab"]
    assert firsts == [3.0, 4.0]


def test_a_list_for_other_than_so_many_logs_is_refused(folder, capsys):
    """One for all, or one each; anything else says both numbers."""
    assert cli.main(["compare", "a.log", "b.log", "--stage", "1,1,1", "--json"]) == 2
    assert "names 3 for 2 logs" in capsys.readouterr().err
    assert cli.main(["compare", "a.log", "b.log", "--stage", "two", "--json"]) == 2
    assert "'two' is no number" in capsys.readouterr().err


def test_every_command_that_reads_a_log_has_the_flags():
    """A command that takes RUN_OR_LOG takes what is said of a log."""
    wanted = {"format", "map", "stage"}
    readers = [
        command
        for command in completion.KINDS
        if any(o.typed == LOG for o in completion.options_of_command(command))
    ]
    assert {"show", "report", "compare", "replay"} <= set(readers)
    for command in readers:
        names = {option.name for option in completion.options_of_command(command)}
        assert wanted <= names, command
    assert wanted == set(LogFlags.__dataclass_fields__)
