"""What the completion scripts offer, asked of the shells themselves."""

import shutil
import subprocess

import pytest

from sftui import cli
from sftui.commands import completion

ASK_BASH = """
ask() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sftui
    printf '%s\\n' "${COMPREPLY[@]}"
}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with two runs, one of them elsewhere, and files with blanks in their names."""
    for folder in ("runs/20260102-a", "runs/no-run", "other place/20260103-b"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("runs/20260102-a/run.json", "other place/20260103-b/run.json", "my run.log"):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SFTUI_RUNS", raising=False)
    return tmp_path


def bash(*words: str) -> set[str]:
    """What bash offers for the last word."""
    assert shutil.which("bash") is not None
    code = completion.script("bash") + ASK_BASH + 'ask "$@"'
    done = subprocess.run(
        ["bash", "--norc", "-uc", code, "bash", *words], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return set(done.stdout.splitlines()) - {""}


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_script_is_accepted_by_its_shell(shell, capsys):
    """Read without being run, as the command prints it."""
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert cli.main(["--print-completion", shell]) == 0
    assert capsys.readouterr().out == text
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("words", [["completion", "csh"], ["--print-completion=csh"]])
def test_an_unknown_shell_is_one_line_that_names_those_there_are(words, capsys):
    """Nothing is printed for `eval`."""
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "bash, zsh, fish" in said.err
    assert said.err.count("\n") == 1


ASKED = {
    "commands": (["sftui", "re"], {"replay", "report"}),
    "flags": (["sftui", "run", "--gp"], {"--gpus"}),
    "choices": (["sftui", "run", "--layout", ""], {"packed", "padded"}),
    "choices after an equals sign": (["sftui", "run", "--dtype", "=", "b"], {"bfloat16"}),
    "nothing typed after one": (["sftui", "run", "--layout", "="], {"packed", "padded"}),
    "underscores": (["sftui", "run", "--loss_norm", "t"], {"tokens"}),
    "recipes": (["sftui", "fit", "--recipe", "st"], {"starter"}),
    "runs": (["sftui", "attach", ""], {"20260102-a"}),
    "runs elsewhere": (
        ["sftui", "attach", "--runs-dir", "other place", "2026"],
        {"20260103-b"},
    ),
    "runs and files": (["sftui", "show", "m"], {"my run.log"}),
    "folders": (["sftui", "run", "--data-dir", "o"], {"other place"}),
    "the second place": (["sftui", "ctl", "2026", "p"], {"pause"}),
    "a place after a flag": (["sftui", "ctl", "--timeout", "3", "2026", "s"], {"stop"}),
    "more places than one": (["sftui", "compare", "a", "b", "c", "2026"], {"20260102-a"}),
    "a place too many": (["sftui", "ctl", "2026", "pause", "1", ""], set()),
    "a command in a command": (["sftui", "runs", ""], {"rm"}),
    "its flags": (["sftui", "runs", "rm", "--y"], {"--yes"}),
    "its runs": (["sftui", "runs", "rm", ""], {"20260102-a"}),
    "no number": (["sftui", "run", "--gpus", ""], set()),
    "another trainer's flags": (["sftui", "run", "--", "python", "--gp"], set()),
    "shells": (["sftui", "--print-completion", "z"], {"zsh"}),
    "shells of the command": (["sftui", "completion", ""], {"bash", "zsh", "fish"}),
    "an unknown command": (["sftui", "nope", "--g"], set()),
}


@pytest.mark.parametrize("name", ASKED)
def test_bash_offers_what_can_be_typed_next(name, place):
    """Commands, flags, choices, run ids and files, whatever stands before them."""
    words, expected = ASKED[name]
    assert bash(*words) == expected


@pytest.mark.parametrize("command", completion.KINDS)
def test_bash_offers_every_flag_of_every_command(command):
    """The same ones that the parser knows."""
    known = {
        f"--{o.name}" for o in completion.options_of_command(command) if not o.typed.positional
    }
    assert bash("sftui", *command.split(), "--") == known | {"--help"}


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize("name", ASKED)
def test_fish_offers_what_can_be_typed_next(name, place):
    """As bash does; it knows no underscores and parts no words at equals signs."""
    words, expected = ASKED[name]
    line = " ".join(f"'{word}'" if " " in word else word for word in words)
    line = line.replace(" = ", "=").replace("loss_norm", "loss-norm").removesuffix(" =") + (
        "=" if words[-1] == "=" else ""
    )
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"{completion.script('fish')}\ncomplete -C {line!r}"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = {entry.split("\t")[0].rpartition("=")[2] for entry in done.stdout.splitlines()}
    assert expected <= {entry.rstrip("/") for entry in found}
