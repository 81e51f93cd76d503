"""Words to flags: without tyro where nothing is to be asked, with the same result."""

from pathlib import Path

import pytest

from sftui import cli
from sftui.commands.parse import at_once, flags_of, normalise_names, parse
from sftui.commands.reading_flags import (
    AttachFlags,
    CtlFlags,
    RemoveFlags,
    ReplayFlags,
    RunsFlags,
    ShowFlags,
)
from sftui.commands.write_report import ReportFlags

PLAIN = {
    "a log": (ReplayFlags, ["run.log"]),
    "a flag before it": (ReplayFlags, ["--follow", "run.log"]),
    "values of every type": (
        ReplayFlags,
        ["a b.log", "--speed", "60", "--stage=2", "--format", "csv", "--runs_dir", "x/y"],
    ),
    "infinity and no": (ReplayFlags, ["x", "--speed=inf", "--no-follow", "--headless=True"]),
    "an empty value": (ReplayFlags, ["x", "--format="]),
    "nothing at all": (AttachFlags, []),
    "a run": (AttachFlags, ["2026", "--on-event", "notify-send done"]),
    "two places": (CtlFlags, ["2026", "pause"]),
    "three places": (CtlFlags, ["2026", "lr", "0.5", "--timeout", "3"]),
    "show": (ShowFlags, ["--json"]),
    "remove": (RemoveFlags, ["2026", "--yes"]),
}
ODD = {
    "help": (ReplayFlags, ["--help"]),
    "no log": (ReplayFlags, []),
    "a word for a number": (ReplayFlags, ["x", "--stage", "two"]),
    "a flag without its value": (ReplayFlags, ["x", "--speed"]),
    "a flag for a value": (ReplayFlags, ["x", "--format", "--follow"]),
    "a negative number": (ReplayFlags, ["x", "--stage", "-1"]),
    "a value twice": (ReplayFlags, ["x", "--stage", "1", "--stage", "2"]),
    "None": (ReplayFlags, ["x", "--format", "None"]),
    "a short flag": (ShowFlags, ["-j"]),
    "a place too many": (ShowFlags, ["a", "b"]),
    "an alias": (ReportFlags, ["-o", "x.md"]),
    "an annotation of tyro's": (RunsFlags, ["--runs-dir", "x"]),
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_plain_is_read_as_tyro_reads_it(name):
    """The short way is taken, and gives the very flags that the long way gives."""
    kind, words = PLAIN[name]
    words = normalise_names(kind, words, "sftui x")
    found = at_once(kind, words)
    assert found is not None
    assert found == parse(kind, words, prog="sftui x")
    for field in kind.__dataclass_fields__:
        assert type(getattr(found, field)) is type(
            getattr(parse(kind, words, prog="sftui x"), field)
        )


@pytest.mark.parametrize("name", ODD)
def test_what_is_not_plain_is_left_to_tyro(name):
    """Help, errors and whatever could be meant otherwise."""
    kind, words = ODD[name]
    assert at_once(kind, normalise_names(kind, words, "sftui x")) is None


def test_a_command_of_tyros_own_types_still_works():
    """Its annotations are evaluated where they stand, although the module imports no tyro."""
    assert flags_of(RunsFlags, ["--runs-dir", "x"], "sftui runs").runs_dir == Path("x")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["replay", "a.log", "b c.log", "--speed", "2"], "sftui replay shows one log"),
        (["attach", "a.log", "b c.log"], "sftui attach shows one run"),
        (["show", "a.log", "--json", "b c.log"], "sftui show shows one run or log"),
        (["report", "a.log", "b c.log", "-o", "x.md"], "sftui report describes one run or log"),
    ],
)
def test_two_logs_where_one_is_shown(capsys, words, says):
    """The line says how many the command takes, and what to type for two."""
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"sftui: error: {says}, and 2 were named.")
    assert "`sftui compare a.log 'b c.log'`" in said
    assert said.count("\n") == 1
