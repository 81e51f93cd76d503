"""`sftui chat` from the outside: one answer, a conversation, a pipe, and slips."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time

import pytest
import torch

from engine.model.generate import Dialogue, Sampling, text_of
from engine.processes import devices
from sftui.cli import main
from sftui.commands import chat
from tests import tiny
from tests.engine.small import BYTES, tiny_model
from tests.processes import ROOT


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with one SFT checkpoint in a nanochat cache."""
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tiny.write_cache(tmp_path / "cache", source="sft")))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(devices, "count_gpus", lambda *_: 0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def piped(monkeypatch, text: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


def greedy(prompt: str, most: int) -> list[int]:
    """What the tiny checkpoint answers, computed here."""
    torch.set_num_threads(1)
    return list(Dialogue(tiny_model(), BYTES, Sampling(max_tokens=most)).reply(prompt))


@pytest.mark.slow
def test_one_prompt_one_object(place, capsys):
    """The very tokens the model gives, and why they ended."""
    words = ["chat", "sft", "--prompt=Say 12.", "--json", "--temperature=0", "--max-tokens=9"]
    assert main(words) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    expected = greedy("Say 12.", 9)
    assert found["ids"] == expected
    assert found["tokens"] == len(expected)
    assert found["text"] == text_of(BYTES, expected)
    assert found["prompt"] == "Say 12."
    assert found["prompt_tokens"] == len("Say 12.") + 3
    assert found["stopped_by"] == "max_tokens"
    assert found["checkpoint"]["label"] == "sft d1 step 7"
    # Whatever the model says, a terminal sees no control character of it.
    assert printed.out.isascii()
    assert printed.out.rstrip("\n").isprintable()


@pytest.mark.slow
def test_a_prompt_from_a_pipe(place, capsys, monkeypatch):
    """All of stdin is one prompt; the answer comes cleaned on stdout, the limit on stderr."""
    piped(monkeypatch, b"Say\n12.\n")
    assert main(["chat", "sft", "--temperature=0", "--max-tokens=40"]) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith("\n")
    assert all(line.isprintable() for line in printed.out.split("\n"))
    assert "cut at 40 tokens; --max-tokens allows more" in printed.err
    piped(monkeypatch, b"Say\n12.\n")
    main(["chat", "sft", "--temperature=0", "--max-tokens=40", "--json"])
    assert json.loads(capsys.readouterr().out)["prompt"] == "Say\n12."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chat"], "no checkpoint was named"),
        (["chat", "nothing", "--prompt=x"], "no run is called"),
        (["chat", "sft:d1:9", "--prompt=x"], "has no step 9"),
        (["chat", "sft"], "the prompt is empty"),
        (["chat", "sft", "--prompt= "], "the prompt is empty"),
        (["chat", "sft", "--promt=x"], "did you mean --prompt"),
        (["chat", "sft", "--prompt=x", "--top-k=few"], "top-k"),
    ],
)
def test_slips_are_one_line(place, capsys, monkeypatch, words, said):
    """Exit code 2, before anything is loaded."""
    piped(monkeypatch, b"")
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert line.startswith("sftui: error: ")
    assert said in line


def test_too_much_from_a_pipe_is_refused(place, capsys, monkeypatch):
    """A file piped in by mistake is not read whole."""
    piped(monkeypatch, b"x" * (chat.MOST_INPUT_BYTES + 5))
    assert main(["chat", "sft"]) == 2
    assert "longer than" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prompt=x", "--temperature=-1"], "temperature is -1; expected 0"),
        (["--prompt=" + 700 * "x"], "positions for 640"),
    ],
)
def test_what_the_model_cannot_do_is_one_line_too(place, capsys, words, said):
    """Told by the process that holds it."""
    assert main(["chat", "sft", *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.slow
def test_a_process_that_dies_is_told(place, monkeypatch):
    """Not waited for, and no traceback of ours."""
    partner = chat.Partner(job(place))
    with contextlib.closing(partner):
        partner.ready()
        partner._process.kill()
        with pytest.raises(chat.RunFailedError, match="exit code -9"):
            list(partner.say("x"))


def job(place, **sampling):
    sampling = {"temperature": 0.0, "max_tokens": 600, **sampling}
    return {
        "target": {"text": "sft", "runs": str(place / "runs")},
        "sampling": sampling,
        "device_type": "cpu",
    }


@pytest.mark.slow
def test_ctrl_c_stops_the_answer_and_not_the_model(place):
    """The next prompt is answered after what was said so far; `clear` begins anew."""
    with contextlib.closing(chat.Partner(job(place))) as partner:
        partner.ready()
        with chat._interrupts(partner) as came:
            for i, _ in enumerate(partner.say("abc")):
                if i == 2:
                    os.kill(os.getpid(), signal.SIGINT)
        assert came
        first = partner.last
        assert first["stopped_by"] == "interrupt"
        assert 2 < first["tokens"] < 600
        list(partner.say("d"))
        assert partner.last["tokens"] > 0
        partner.clear()
        list(partner.say("abc"))
        assert partner.last["ids"][: first["tokens"]] == first["ids"]
        assert partner.last["ids"] == greedy("abc", 600)


@pytest.mark.slow
def test_a_conversation_on_a_terminal(place):
    """Prompts, an empty line, /help, /clear, Ctrl-C at the prompt, Ctrl-D: exit code 0."""

    def at_a_terminal() -> None:
        # Ctrl-C typed is a signal to the foreground group only where this is its terminal; a
        # shell that started the tests in the background had them ignore it.
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    leader, follower = pty.openpty()
    words = ["chat", "sft", "--temperature=0", "--max-tokens=5"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sftui", *words],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        cwd=place,
        preexec_fn=at_a_terminal,
    )
    os.close(follower)
    seen = ""

    def look(seconds: float) -> None:
        nonlocal seen
        if select.select([leader], [], [], seconds)[0]:
            with contextlib.suppress(OSError):
                seen += os.read(leader, 4096).decode("utf-8", "replace")

    def until(text: str, times: int = 1) -> None:
        deadline = time.monotonic() + 60
        while seen.count(text) < times:
            assert time.monotonic() < deadline, seen
            look(1.0)

    try:
        until("Ctrl-C stops an answer")
        until("> ")
        os.write(leader, b"hi\n")
        until("cut at 5 tokens")
        os.write(leader, b"\n/clear\n")
        until("a new conversation")
        until("> ", 4)
        os.write(leader, b"half a line")
        until("half a line")
        # A signal between readline's look for one and its wait for a key waits for the next key;
        # a second one sent too early would throw away the next line, or end the command.
        prompts = seen.count("> ")
        while seen.count("> ") == prompts:
            assert process.poll() is None, seen
            os.write(leader, b"\x03")
            answered = time.monotonic() + 5
            while seen.count("> ") == prompts and time.monotonic() < answered:
                look(0.2)
        prompts = seen.count("> ")
        os.write(leader, b"/help\n")
        until("Ctrl-C stops an answer", 2)
        # Ctrl-D is readline's only while it waits; before, the terminal takes it.
        until("> ", prompts + 1)
        os.write(leader, b"\x04")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(leader)
    assert "Traceback" not in seen
    assert seen.count("cut at") == 1


@pytest.mark.slow
def test_the_command_line_never_imports_torch(place):
    """The model is in another process."""
    code = (
        "import sys; from sftui.cli import main;"
        "code = main(['chat', 'sft', '--prompt=x', '--max-tokens=2']);"
        "assert code == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100, capture_output=True)
