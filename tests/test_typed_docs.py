"""What README and `docs/` promise by a command or a key is typed: commands in this process.

A reading command runs on two recordings of the demo and a log beside them; the others are named in
NOT_RUN with the reason, and only their words are held to the product's parsers (`docs_check`).
Keys that a page names are rows of the key table, which `test_every_key.py` presses.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import UsageError
from sftui import cli
from sftui.commands import demo
from sftui.keys.key_table import TABLE
from sftui.verbs import typed
from sftui.verbs.verb_table import VERBS
from tests import docs_check

ROOT = Path(__file__).resolve().parents[1]
FIRST, SECOND = "20260102-030405-starter", "20260103-030405-starter"
NOT_READ = {"CONTRIBUTING.md", "CHANGELOG.md", "old-paths.md"}
"""Pages for who works on the product, or of its past."""
NOT_RUN = {
    "COMMAND": "stands for any of them",
    "run": "trains; `tests/test_journeys.py` types it on a CPU",
    "eval": "needs the weights of a model, which no page brings",
    "chat": "needs the weights of a model",
    "export": "needs the weights of a model",
    "fit": "needs a checkpoint of the size that is asked about",
    "data": "needs a tokenizer, or a run of this version with its rows",
    "doctor": "asks this machine's cards and disks; `tests/engine` runs it",
}
"""Commands whose words are only parsed, and why."""
WAITS = ("--follow",)
"""Flags of commands that go on until somebody ends them."""
NAMES = {"RUN": FIRST, "LOG": "run.log", "CMD": "true", "N": "20", "A": FIRST, "B": SECOND}
NAMES |= {"MMLU": "Starter-Lists", "2026": FIRST}
"""What stands for a placeholder."""


def promised() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Page, and the words after `sftui`, of every command on every page, once."""
    seen = set()
    for page in docs_check.pages(ROOT):
        if page.path.name in NOT_READ:
            continue
        for _, text in docs_check._typed(page):
            for words in docs_check._simple_commands(text):
                found = tuple(words[1:])
                if words[0] == "sftui" and found and found not in seen:
                    seen.add(found)
                    yield page.path.name, found


COMMANDS = [words for _, words in promised()]
RUN = [w for w in COMMANDS if w[0] not in NOT_RUN and "--help" not in w and not {*WAITS} & {*w}]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the pages speak of one: two runs, a log by several names, a baseline."""
    found = tmp_path_factory.mktemp("typed")
    recording = demo.unpack(found)
    (found / "runs").mkdir()
    for name in (FIRST, SECOND):
        copy = shutil.copytree(recording, found / "runs" / name)
        manifest = json.loads((copy / "run.json").read_text())
        (copy / "run.json").write_text(json.dumps(manifest | {"id": name}))
    log = "".join(f"step {i:05d}/00100 | loss: {2 - i / 100:.4f} | lrm: 1.0\n" for i in range(100))
    (found / "logs").mkdir()
    for name in ("run.log", "logs/run.log", "speedrun.log", "trainer.out"):
        (found / name).write_text(log)
    rows = [{"step": i, "loss": 2 - i / 100} for i in range(1, 50)]
    (found / "trainer_state.json").write_text(json.dumps({"log_history": rows, "global_step": 49}))
    (found / "base.toml").write_text('Starter-Lists = "60/256"\n')
    recording.rename(found / "demo")
    return found


@pytest.mark.parametrize("words", RUN, ids=" ".join)
def test_a_promised_command_does_what_the_page_says(
    words: tuple[str, ...],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It ends well and says something; a request to a run that is over says that it is."""
    monkeypatch.chdir(place)
    there = [NAMES.get(word, word) for word in words]
    there = [re.sub(r"^A1,.*", FIRST, re.sub(r"^B1,.*", SECOND, word)) for word in there]
    if there[:1] == ["demo"]:
        shutil.rmtree(place / "demo")
    code = cli.main(there)
    said = capsys.readouterr()
    if there[0] == "ctl":
        assert code == 2, said
        assert "is not running" in said.err
    elif there[:2] == ["runs", "rm"]:
        assert (place / "runs" / FIRST).exists()
    else:
        assert code == 0, said.err
        assert said.out + said.err


def test_only_commands_with_a_reason_are_not_run() -> None:
    """And each of them stands on a page."""
    left = {words[0] for words in COMMANDS} - {words[0] for words in RUN}
    assert left <= set(NOT_RUN)
    assert set(NOT_RUN) <= {words[0] for words in COMMANDS}


SHOWN = {part for key in TABLE for part in (key.shown, *key.keys.split(","))}


def spans() -> Iterator[tuple[str, str]]:
    """Page and text of every code span but those of generated tables."""
    for page in docs_check.pages(ROOT):
        if page.path.name in ("README.md", "keys.md", "running-and-steering.md", "logs.md"):
            for _, token in page.inlines():
                if token.type == "code_inline":
                    yield page.path.name, token.content


def test_every_key_that_a_page_names_is_in_the_table() -> None:
    """One letter or mark is a key, and so are the names of keys."""
    named = {text for _, text in spans() if re.fullmatch(r"\S|esc|space|enter|tab|ctrl\+.", text)}
    assert len(named) > 30
    assert named - SHOWN == {"|", "!", "*"}  # marks of the filter of charts


def test_every_line_with_a_verb_that_a_page_names_is_understood() -> None:
    """`lr 0.5`, `pause in 50` and the others, with or without the colon."""
    first = {verb.name for verb in VERBS if verb.arguments}
    lines = {text.lstrip(":") for _, text in spans() if text.lstrip(":").split(" ")[0] in first}
    lines = {
        line for line in lines if " " in line and not re.search(r"[A-Z]{3,}|\[|\.\.\.|\$", line)
    }
    assert {"lr 0.5", "pause in 50"} <= lines
    wrong = [line for line in lines if not any(_reads(line, mode) for mode in ("live", "replay"))]
    assert wrong == []


def _reads(line: str, mode: str) -> bool:
    try:
        typed.read(line, mode)
    except UsageError:
        return False
    return True
