"""Typical mistakes answer in one line with the next thing to type; nothing is started."""

import re

import pytest

from sftui import cli
from sftui.commands import completion, run_flags
from sftui.commands.options import docs_of

MISTAKES = {
    "a word of other tools": (["tail"], "type sftui replay LOG --follow, or sftui attach RUN"),
    "a request as a command": (["pause"], "type sftui ctl RUN pause"),
    "lr as a command": (["lr", "0.5"], "type sftui ctl RUN lr 0.5"),
    "train": (["train"], "type sftui run."),
    "resume": (["resume", "x"], "sftui run --resume RUN"),
    "a log alone": (["run.log"], "type sftui replay run.log"),
    "a script alone": (["train.py"], "type sftui run -- python train.py"),
    "two letters exchanged": (["shwo"], "did you mean show?"),
    "a flag of other trainers": (
        ["run", "--learning-rate", "0.1"],
        "here it is --matrix-lr, --embedding-lr, --unembedding-lr, --init-lr-frac or --lr",
    ),
    "another batch size": (
        ["run", "--batch-size=4"],
        "here it is --device-batch-size or --target-examples-per-step",
    ),
    "a rate that would do nothing": (
        ["run", "--lr", "0.1"],
        "--matrix-lr, --embedding-lr, --init-lr-frac",
    ),
    "a word for a number": (["run", "--num-iterations", "two"], "expected a whole number"),
    "a recipe with a slip": (["run", "--recipe", "startr"], "did you mean starter?"),
    "a flag with one dash": (["run", "-gpus", "2"], "did you mean --gpus"),
    "a flag without dashes": (["run", "gpus=2"], "Type --gpus=2"),
    "a flag without its value": (["run", "--gpus"], "--gpus: expected N, found nothing"),
    "a script for run": (["run", "train.py"], "sftui run -- python train.py"),
    "settings for run": (["run", "my.toml"], "Type --config my.toml"),
    "rows for run": (["run", "chat.jsonl"], "Type --data chat.jsonl"),
    "replay of nothing": (["replay"], "expected LOG, found nothing; for example: sftui replay"),
    "one side alone": (["compare", "a.log"], "expected LOG after a.log, found nothing"),
    "ctl of nothing": (["ctl"], "for example: sftui ctl "),
    "the wrong way round": (["ctl", "pause", "tiny"], "the run comes first: sftui ctl tiny pause"),
    "a request with a slip": (["ctl", "tiny", "puase"], "expected one of pause, resume"),
    "a request without its number": (["ctl", "tiny", "lr"], "type sftui ctl RUN lr 0.5"),
    "a near request": (["ctl", "tiny", "pauze"], "did you mean pause?"),
    "a run where none is": (["attach", "9999"], "`sftui run` starts one, `sftui demo` shows one"),
    "nothing to talk to": (["chat"], "no run here has one. Name a run, RUN:STEP"),
    "another word for a flag": (["export", "--to", "gguf"], "here it is --format"),
    "a form that nobody writes": (["export", "--format", "gguf"], "one of nanochat, hf"),
    "no such log": (["show", "nothing.log"], "`sftui run` starts one"),
    "a language": (["report", "--lang", "fr"], "en or zh"),
    "remove": (["runs", "remove", "tiny"], "Type sftui runs rm tiny"),
    "a shell": (["completion", "tcsh"], 'eval "$(sftui completion bash)"'),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_with_the_next_thing_to_type(name, capsys, tmp_path, monkeypatch):
    """One line on stderr, exit code 2, an empty folder stays empty."""
    monkeypatch.chdir(tmp_path)
    words, says = MISTAKES[name]
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err
    assert said.err.count("\n") == 1
    assert ".;" not in said.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["help", "replay"], ["replay", "--help"]])
def test_help_of_a_command_is_that_commands_help(words, capsys):
    """In either order."""
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert not end.value.code
    assert capsys.readouterr().out.startswith("usage: sftui replay ")


def test_version_is_told_by_any_name(capsys):
    """`sftui version` is no mistake."""
    for word in ("version", "-v", "-V", "--version"):
        assert cli.main([word]) == 0
        assert capsys.readouterr().out.startswith("sftui ")


@pytest.mark.parametrize("command", ["run", "fit"])
def test_short_help_has_the_flags_of_every_day_and_names_the_rest(command, capsys):
    """In the order of use; `--help-all` has every one."""
    kind = completion.KINDS[command]
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    short = capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main([command, "--help-all"])
    whole = capsys.readouterr().out
    flags = {option.dest: option for option in run_flags.options(kind)}
    shown = [flags[name] for name in kind.DAILY]
    named = [option.name for option in shown if not option.typed.positional]
    listed = re.findall(r"\n  (?:-\w, )?--([\w-]+)", short)
    assert [name for name in listed if name in named] == named
    assert f"{len(flags) - len(shown)} more flags: `sftui {command} --help-all`" in short
    assert len(short.splitlines()) < 100 < len(whole.splitlines())
    assert all(docs_of(list(flags.values())).values())


def test_the_recipes_stand_in_the_help(capsys):
    """Nobody has to look for their names elsewhere."""
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    assert "--recipe {d16-low-memory,hf,nanochat,nanochat-2025,starter}" in capsys.readouterr().out
