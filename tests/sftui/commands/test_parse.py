"""Words to flags: both spellings, every type, places and flags mixed, errors in one line."""

import re
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import config
from engine.config import RunConfig
from engine.data.row_columns import FINDS
from engine.errors import ConfigError, UsageError
from sftui import cli
from sftui.commands import completion
from sftui.commands.checkpoint_flags import ChatFlags
from sftui.commands.options import docs_of
from sftui.commands.parse import flags_of
from sftui.commands.reading_flags import (
    CompareFlags,
    CtlFlags,
    QuestionFlags,
    RemoveFlags,
    ReportFlags,
    RunsFlags,
    ShowFlags,
)
from sftui.commands.run_flags import DATA_FORMATS, options, parse_fit, parse_run
from sftui.commands.screen_flags import AttachFlags, ReplayFlags

READ = {
    "a log": (["run.log"], ReplayFlags(log="run.log")),
    "a flag before it": (["--follow", "run.log"], ReplayFlags(log="run.log", follow=True)),
    "values of every type": (
        ["a b.log", "--speed", "60", "--stage=2", "--format", "csv", "--runs_dir", "x/y"],
        ReplayFlags(log="a b.log", speed=60.0, stage=2, format="csv", runs_dir=Path("x/y")),
    ),
    "infinity and no": (
        ["x", "--speed=inf", "--no-follow", "--headless=True"],
        ReplayFlags(log="x", headless=True),
    ),
    "switched off as nanochat does": (["x", "--follow=False"], ReplayFlags(log="x")),
    "an empty value": (["x", "--format="], ReplayFlags(log="x", format="")),
    "a negative number": (["x", "--stage", "-1"], ReplayFlags(log="x", stage=-1)),
    "a value twice: the last": (["x", "--stage", "1", "--stage=2"], ReplayFlags(log="x", stage=2)),
    "None": (["x", "--format", "None"], ReplayFlags(log="x")),
    "nothing at all": ([], AttachFlags()),
    "a run": (["2026", "--on-event", "mail me"], AttachFlags(run="2026", on_event="mail me")),
    "two places": (["2026", "pause"], CtlFlags(run="2026", command="pause")),
    "a flag between places": (
        ["2026", "--timeout", "3", "lr", "--runs-dir=r", "0.5"],
        CtlFlags(run="2026", command="lr", argument="0.5", timeout=3.0, runs_dir=Path("r")),
    ),
    "a flag before a place that may be empty": (
        ["--json", "run.log"],
        ShowFlags(json=True, target="run.log"),
    ),
    "any number of places": (
        ["a", "b", "--json", "c", "d"],
        CompareFlags(a="a", b="b", more=("c", "d"), json=True),
    ),
    "no more places": (["a", "b"], CompareFlags(a="a", b="b")),
    "a short flag": (["-o", "x.md"], ReportFlags(output=Path("x.md"))),
    "a choice": (["--lang=zh"], ReportFlags(lang="zh")),
    "a name that Python has": (["--from", "3", "--to=5"], QuestionFlags(from_=3, to=5)),
    "an inherited flag": (["--runs-dir", "x"], RunsFlags(runs_dir=Path("x"))),
    "remove": (["2026", "--yes"], RemoveFlags(run="2026", yes=True)),
    "a file that looks like a flag": (
        ["--json", "--", "-x.log"],
        ShowFlags(target="-x.log", json=True),
    ),
    "a value that looks like a flag": (["--prompt=--help me"], ChatFlags(prompt="--help me")),
    "a sentence after a dash": (["--prompt", "- or not"], ChatFlags(prompt="- or not")),
    "lines": (["--prompt=a\nb=c"], ChatFlags(prompt="a\nb=c")),
}
REFUSED = {
    "no log": (ReplayFlags, [], "expected LOG, found nothing; for example: "),
    "a word for a number": (
        ReplayFlags,
        ["x", "--stage", "two"],
        "--stage: found 'two'; expected a whole number",
    ),
    "a word for a factor": (
        ReplayFlags,
        ["x", "--speed=fast"],
        "--speed: found 'fast'; expected a number",
    ),
    "a flag without its value": (
        ReplayFlags,
        ["x", "--speed"],
        "--speed: expected NUMBER, found nothing",
    ),
    "a flag for a value": (
        ReplayFlags,
        ["x", "--format", "--follow"],
        "--format: expected FORMAT, found nothing",
    ),
    "a switch with a number": (
        ReplayFlags,
        ["x", "--follow=2"],
        "--follow: found '2'; expected True or False",
    ),
    "an unknown short flag": (ShowFlags, ["-j"], "unknown flag -j"),
    "an unknown flag": (ShowFlags, ["--jsom"], "unknown flag --jsom; did you mean --json."),
    "a part of a flag": (
        ReplayFlags,
        ["x", "--head"],
        "unknown flag --head; did you mean --headless.",
    ),
    "two unknown flags": (
        ShowFlags,
        ["--a", "--base_line=3"],
        "unknown flag --a, --base_line; did you mean --baseline.",
    ),
    "a place too many": (RemoveFlags, ["a", "b c"], "there is no place for 'b c'"),
    "a choice that is none": (
        QuestionFlags,
        ["--kind=lots"],
        "--kind: found 'lots'; expected one of flipped, gained, lost, all",
    ),
}


@pytest.mark.parametrize("name", READ)
def test_words_become_flags(name):
    """Of the very types the fields have."""
    words, expected = READ[name]
    found = flags_of(type(expected), words, "sftui x")
    assert found == expected
    for field in expected.__dataclass_fields__:
        assert type(getattr(found, field)) is type(getattr(expected, field))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_one_line_that_says_what_was_expected(name):
    """And what to type for more."""
    kind, words, says = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        flags_of(kind, words, "sftui x")
    text = str(caught.value)
    assert text.startswith(says)
    assert "\n" not in text
    assert "`sftui x --help`" in text or "True or False" in text


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


SETTINGS = RunConfig().flat()
VALUES = {
    bool: st.booleans(),
    int: st.integers(-1, 10**9),
    float: st.floats(0, 1e6),
    str: st.text("abc-=:,. \n", max_size=9),
    tuple: st.lists(st.text("abc:", min_size=1, max_size=5), max_size=3).map(tuple),
    type(None): st.none() | st.integers(0, 99),
}
HINTS = {
    name: hint
    for kind in config.GROUPS.values()
    for name, hint in typing.get_type_hints(kind).items()
}
CLOSED = {name for name, hint in HINTS.items() if typing.get_origin(hint) is typing.Literal}
OPEN = {name for name, value in SETTINGS.items() if value is None}
TYPED = sorted(set(SETTINGS) - CLOSED - OPEN - config.TEXTS)


@given(st.data())
def test_every_setting_is_read_in_every_spelling(data):
    """`--a-b=v`, `--a_b=v`, `--a-b v` and nanochat's `True`: the same value, named as typed."""
    name = data.draw(st.sampled_from(TYPED))
    value = data.draw(VALUES[type(SETTINGS[name])])
    flag = "--" + data.draw(st.sampled_from([name, name.replace("_", "-")]))
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    words = [f"{flag}={text}"]
    if not isinstance(value, bool) and not text.startswith("-"):
        words = data.draw(st.sampled_from([words, [flag, text]]))
    expected = RunConfig().replace(**{name: value})
    try:
        expected.check()
    except ConfigError as out_of_range:
        with pytest.raises(ConfigError, match=re.escape(str(out_of_range))):
            parse_run(words)
        return
    flags, typed = parse_run(words)
    assert flags.settings.flat()[name] == value
    assert flags.settings == expected
    assert name in typed


def test_nanochats_own_command_line_is_understood():
    """Underscores, `=`, an older name, an empty name for the run, and lists with commas."""
    words = ["--run=", "--matrix_lr=0.04", "--max_iterations=9", "--skip_bad_rows=True"]
    flags, typed = parse_run([*words, "--eval_tasks=MMLU,ARC-Easy", "--model_tag=None"])
    batch, data = flags.settings.batch, flags.settings.data
    assert (batch.num_iterations, data.skip_bad_rows) == (9, True)
    assert (flags.settings.runtime.run, flags.settings.optim.matrix_lr) == ("", 0.04)
    assert flags.settings.eval.eval_tasks == ("MMLU", "ARC-Easy")
    assert {"num_iterations", "matrix_lr", "run", "eval_tasks"} <= typed


def test_lists_are_comma_separated_or_words():
    """Empty parts are left out; an empty list is a list."""
    assert parse_run(["--mixture", "a:3,b", "c"])[0].settings.data.mixture == ("a:3", "b", "c")
    assert parse_run(["--mixture=a, b,"])[0].settings.data.mixture == ("a", "b")
    assert parse_run(["--eval-tasks="])[0].settings.eval.eval_tasks == ()


@given(st.lists(st.text(), min_size=1))
def test_everything_after_a_lone_dash_dash_reaches_run_untouched(rest):
    """Flags of ours, unknown ones, `--help`, `--` itself, empty words."""
    flags, typed = parse_run(["--gpus", "2", "--", *rest])
    assert flags.command == tuple(rest)
    assert flags.settings.runtime.gpus == 2
    assert typed == {"gpus"}


def test_nothing_after_the_dashes_is_a_mistake():
    """The command of another trainer is wanted there."""
    with pytest.raises(ConfigError, match="nothing stands after the --"):
        parse_run(["--"])


def test_fit_takes_its_file_in_either_way(tmp_path):
    """By its place, wherever that is, or by its flag, not both."""
    file = tmp_path / "my.toml"
    file.write_text("gpus = 3\n")
    for words in ([str(file)], ["--memory", "24", str(file)], ["--config", str(file)]):
        flags, typed = parse_fit(words)
        assert flags.settings.runtime.gpus == 3
        assert "gpus" in typed
    with pytest.raises(UsageError, match="two files"):
        parse_fit([str(file), "--config", str(file)])


@pytest.mark.parametrize("command", completion.KINDS)
def test_help_explains_every_flag_in_words_people_can_read(command, capsys):
    """Name, what stands for the value, a sentence; no type of Python."""
    with pytest.raises(SystemExit) as end:
        cli.main([*command.split(), "--help-all"])
    assert not end.value.code
    out = capsys.readouterr().out
    flags = completion.options_of_command(command)
    assert flags
    docs = docs_of(flags)
    for option in flags:
        if not option.typed.positional:
            assert f"--{option.name}" in out
        assert option.is_switch or option.metavar in out
        assert docs[option.dest].split()[0] in out
    for unreadable in ("None", "STR", "[str", "Optional", "==", "{}"):
        assert unreadable not in out


def test_every_command_can_be_asked_for_help_and_completed():
    """Whoever adds a command adds it to both."""
    assert {command.split()[0] for command in completion.KINDS} == set(cli.COMMANDS)


def test_every_flag_of_run_has_its_text_and_a_group():
    """Settings stand under the heading of their owner."""
    found = options(completion.KINDS["run"])
    assert {option.dest for option in found} >= {*config.setting_names(), "recipe", "config"}
    assert all(docs_of(found)[option.dest] for option in found)
    groups = {option.dest: option.group.__name__ for option in found}
    assert groups["matrix_lr"] == "OptimConfig"
    assert groups["recipe"] == groups["runs_dir"] == "RunFlags"


def test_the_forms_of_rows_on_the_command_line_are_those_that_are_recognised() -> None:
    """A start does not read the module that recognises them, so the names stand twice."""
    assert tuple(FINDS) == DATA_FORMATS
