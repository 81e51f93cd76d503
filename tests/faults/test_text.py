"""Text from outside (logs, data, names, errors) is shown as text, by every command and screen."""

import dataclasses
import json
import random
import subprocess
import sys
import time
import typing
import unicodedata
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from engine.events import KINDS, AttemptStarted, RunFinished, RunStarted, Stamp, StepFinished
from engine.journal import wire
from sftui.cli import COMMANDS
from sftui.keys.key_table import GROUPS
from tests.faults.place import Place
from tests.faults.terminal import Terminal
from tests.processes import children

NASTY = (
    "[bold]oops [/] [@click=app.bell]x[/] \x1b]52;c;aGFja2Vk\x07 \x1b]0;pwned\x1b\\ \x1b[2J\x1b[31m"
    "\x9b2J\x9d0;pwned\x9c \u202egnp.exe \u2066\u200b\ufeff e\u0301\u0301\u0301 "
    "\u8bad\u7ec3\U0001f642 \x00\x07\x08\r\n<script>alert(1)</script> | a | `b` "
    "![x](http://x) \udcff"
)

ACTS = ("\x1b]52", "\x1b]0;pwned", "\x1b[2J\x1b[31m", "\x9b", "\x9d", "\x07", "\x08", "\x00")
"""What would act on a terminal, as the screen itself never writes it."""

REORDERS = ("\u202e", "\u2066", "\u200b", "\ufeff")


def is_word(hint):
    """Whether a field's type is a closed set of words, or one of them or None."""
    return any(typing.get_origin(each) is typing.Literal for each in (hint, *typing.get_args(hint)))


def nasty(kind):
    """An event of this kind with the text in every field that takes one."""
    values = {}
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.name in ("step", "stamp"):
            continue
        text = str(field.type)
        # The closed words too: a file may hold any.
        if text.startswith("str") or is_word(hints[field.name]):
            values[field.name] = NASTY
        elif text.startswith("Mapping"):
            values[field.name] = {NASTY: NASTY if "Scalar" in text else 1}
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            values[field.name] = 1.5 if text == "float" else 1
    return kind(step=1, **values)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose every word is hostile: events, supervisor's events, name, log, results."""
    place = Place(tmp_path_factory.mktemp("hostile"))
    run = place.make(f"--run={'x' * 20}")
    manifest = json.loads(run.manifest.read_text())
    manifest |= {"name": NASTY, "notes": [NASTY], "command": [NASTY]}
    manifest["start"]["label"] = NASTY
    run.manifest.write_text(json.dumps(manifest))
    first = [RunStarted(name=NASTY, num_iterations=9), AttemptStarted()]
    steps = [StepFinished(step=n, loss=2 - n / 10, lrs={NASTY: 0.1}) for n in range(5)]
    story = [*first, *steps]
    story += [nasty(kind) for name, kind in KINDS.items() if kind not in (RunStarted, RunFinished)]
    story.append(RunFinished(status="failed", reason=NASTY))
    now = time.time()
    lines = [
        wire.encode(dataclasses.replace(event, stamp=Stamp(run=run.id, seq=n, t=now + n / 10)))
        for n, event in enumerate(story, 1)
    ]
    run.events.write_bytes(b"".join(lines))
    run.supervisor_events.write_bytes(
        wire.encode(dataclasses.replace(nasty(KINDS["rank_lost"]), stamp=Stamp(src="sup", seq=1)))
    )
    run.run_log.write_bytes(
        f"Step 00001/00009 | Training loss: 1.5 {NASTY}\n{NASTY}\n".encode("utf-8", "replace")
    )
    return place, run


def commands(run):
    """Command lines that show this run, by the commands there are."""
    found = {
        "show": [str(run.path)],
        "show json": [str(run.path), "--json"],
        "runs": [],
        "attach": [str(run.path)],
        "replay": [str(run.path), "--speed", "inf"],
        "replay log": [str(run.run_log), "--speed", "inf"],
        "report": [str(run.path)],
        "compare": [str(run.path), str(run.path)],
    }
    return {
        name: [name.split()[0], *words]
        for name, words in found.items()
        if name.split()[0] in COMMANDS
    }


def said(place, words, **extra):
    """stdout and stderr of a command without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "sftui", *words],
        env=place.environment(**extra),
        cwd=place.path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


ALL = ["show", "show json", "runs", "attach", "replay", "replay log", "report", "compare"]


@pytest.mark.parametrize("name", ALL)
def test_no_command_lets_text_act_on_a_terminal(name, run):
    """Faults 36 to 40, printed: no escape, no control, nothing that reorders a line."""
    place, found = run
    if name not in commands(found):
        pytest.skip("there is no such command yet")
    code, out = said(place, commands(found)[name])
    assert b"Traceback" not in out, out.decode("utf-8", "replace")[-2000:]
    assert code in (0, 1)
    text = out.decode("utf-8")
    if name == "report":
        # It prints where the files are; what the run said is in them.
        assert {path.suffix for path in written(found)} == {".md", ".svg", ".png"}
    else:
        assert "oops [/]" in text or name == "runs"
    harmless(text)


def test_bytes_that_are_no_text_become_marks(run):
    """Fault 36: random bytes in a log cost their own characters; every step is still read."""
    place, _ = run
    noise = random.Random(36)
    lines = []
    for step in range(40):
        lines.append(
            b"Step %05d/00041 | Training loss: 1.%06d | lrm: 1.000000 | num_tokens: 999"
            % (step, step)
        )
        lines.append(b"noise " + bytes(noise.randrange(0x80, 0x100) for _ in range(60)))
    log = place.path / "noise.log"
    log.write_bytes(b"\n".join(lines) + b"\n")
    code, out = said(place, ["replay", str(log), "--speed", "inf"])
    assert code == 0, out
    text = out.decode("utf-8")
    assert "\ufffd" in text
    harmless(text)
    code, out = said(place, ["show", str(log), "--json"])
    assert json.loads(out)["stages"][0]["steps"]["logged"] == 40


def written(run):
    """Files of the report."""
    return [path for path in run.path.iterdir() if path.name.startswith("report")]


def harmless(text):
    """Nothing in it acts on a terminal or reorders a line."""
    for sequence in (*ACTS, *REORDERS, "\x1b"):
        assert sequence not in text, repr(text[max(0, text.find(sequence) - 60) :][:120])
    controls = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n"}
    assert controls == set()


def test_a_report_quotes_text_and_obeys_none_of_it(run):
    """In the files as on the terminal: no control, no HTML, no link, no picture of a stranger's."""
    place, found = run
    code, out = said(place, commands(found)["report"])
    assert code == 0, out.decode("utf-8", "replace")
    [page] = [path for path in written(found) if path.suffix == ".md"]
    text = page.read_text("utf-8")
    harmless(text)
    tokens = [t for token in MarkdownIt().enable("table").parse(text) for t in walk(token)]
    shown = " ".join(token.content for token in tokens if token.type in ("text", "code_inline"))
    assert "oops [/]" in shown
    assert "<script>alert(1)</script>" in shown
    kinds = {token.type for token in tokens}
    assert not kinds & {"html_block", "html_inline"}
    # Its own pictures, and nothing of a stranger's.
    links = {token.attrs.get("src") or token.attrs.get("href") for token in tokens} - {None}
    assert links == {path.name for path in written(found)} - {page.name}
    for picture in written(found):
        if picture.suffix == ".svg":
            harmless(picture.read_text("utf-8"))
            tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(picture).iter()}
            assert not tags & {"script", "foreignObject", "image", "a"}


def walk(token):
    """A token of Markdown and what is in it."""
    yield token
    for child in token.children or ():
        yield from walk(child)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["attach", "replay", "replay log"])
def test_no_screen_lets_text_act_on_the_terminal(name, run):
    """Faults 37 to 40, drawn in a real terminal: the bytes that would act are never written."""
    place, found = run
    if name not in commands(found):
        pytest.skip("there is no such command yet")
    words = commands(found)[name]
    with children() as started:
        env = place.environment()
        terminal = Terminal(started, "-m", "sftui", *words, env=env, columns=160, lines=48)
        terminal.wait_for("oops [/]")
        for key in "12345zsfl":
            terminal.press(key)
        terminal.wait_for(next(iter(GROUPS.values())), terminal.press("?"))
        terminal.wait_for("sftui", terminal.press("\x1b"))
        terminal.press("q")
        assert terminal.wait() in (0, 1)
        text = terminal.output.decode("utf-8", "replace")
        terminal.close()
    for sequence in ("\x1b]52", "\x1b]0;pwned", "\x9b", "\x9d", "\x00", *REORDERS):
        assert sequence not in text
    assert "pwned" not in text.replace("exe", "")
    assert "\x1b[?1049l" in text


# ---- 63, 64: poor terminals ---------------------------------------------------------------------

POOR = {
    "locale C": {"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin 1": {"PYTHONIOENCODING": "latin-1"},
}


@pytest.mark.parametrize("how", POOR)
@pytest.mark.parametrize("name", ["show", "runs", "attach"])
def test_a_terminal_without_unicode_gets_plain_text(name, how, run):
    """Fault 63: no crash, no colour, in the encoding that there is."""
    place, found = run
    extra = POOR[how] | {"TERM": "dumb", "NO_COLOR": "1"}
    code, out = said(place, commands(found)[name], **extra)
    assert b"Traceback" not in out, out.decode("utf-8", "replace")[-2000:]
    assert code in (0, 1)
    assert b"\x1b" not in out
    if how != "latin 1":
        out.decode("ascii")


@pytest.mark.slow
def test_a_dumb_terminal_gets_lines(run):
    """Fault 63: TERM=dumb in a real terminal; no cursor is moved, no mode is set."""
    place, found = run
    with children() as started:
        terminal = Terminal(started, "-c", DUMB, str(found.path), env=place.environment())
        assert terminal.wait() == 1
        assert b"\x1b" not in terminal.output
        assert b"oops" in terminal.output
        terminal.close()


DUMB = """
import os, sys
os.environ["TERM"] = "dumb"
from sftui.cli import main
sys.exit(main(["attach", sys.argv[1]]))
"""
