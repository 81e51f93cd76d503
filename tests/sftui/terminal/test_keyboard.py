"""No byte on the keyboard ends the screen, and no key is lost behind one."""

from __future__ import annotations

import codecs
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events

from sftui.terminal.keyboard import (
    MOST_CELLS,
    MOST_PASTED,
    STRING_PATIENCE_SECONDS,
    Keyboard,
)
from tests.faults.terminal import Terminal
from tests.processes import children, environment

ABSURD = [
    "\x1b[99999999999999999999~",
    "\x1b[57344;1:3u",
    "\x1b[1114112u",
    "\x1b[99999999999;2u",
    "\x1b[97;5:;:u",
    "\x1b[<0;99999999999;1M",
    "\x1b[48;99999;99999;1;1t",
    "\x1b[48;0;0;0;0t",
    "\x1b[;;;~",
    "\x1b[M\ufffd\ufffd\ufffd",
    "\x1b[?2026;9$y",
    "\x1bPunfinished",
]


def keys(keyboard: Keyboard, text: str) -> list[str]:
    return [m.key for m in keyboard.feed(text) if isinstance(m, events.Key)]


@pytest.mark.parametrize("sequence", ABSURD)
def test_an_absurd_sequence_is_no_key(sequence: str) -> None:
    """It is dropped, and the next key arrives."""
    keyboard = Keyboard()
    keys(keyboard, sequence)
    time.sleep(0.15)
    list(keyboard.tick())
    assert keys(keyboard, "j")[-1] == "j"


@given(st.binary(max_size=60))
def test_any_bytes_are_taken(data: bytes) -> None:
    """As they come from a terminal: decoded with replacement, and nothing raised."""
    keyboard = Keyboard()
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    for message in keyboard.feed(decode(data)):
        assert not isinstance(message, events.Key) or "\ufffd" not in (message.character or "")


@given(st.lists(st.sampled_from([*ABSURD, "a", "\x1b", "\x1b[", ";", "9", "u", "~", "M"])))
def test_pieces_of_sequences_in_any_order_are_taken(pieces: list[str]) -> None:
    """Sequences cut and joined anywhere."""
    keyboard = Keyboard()
    for piece in pieces:
        for message in keyboard.feed(piece):
            if isinstance(message, events.Resize):
                assert message.size.width <= MOST_CELLS


def test_a_paste_without_an_end_does_not_swallow_the_keys_for_ever() -> None:
    """Its end was lost with the connection that sent it."""
    keyboard = Keyboard()
    assert keys(keyboard, "\x1b[200~half of it") == []
    assert keyboard.in_paste
    list(keyboard.end_paste())
    assert not keyboard.in_paste
    assert keys(keyboard, "q") == ["q"]


def test_a_paste_of_megabytes_takes_bounded_memory() -> None:
    """What is beyond the limit is dropped; the paste still ends."""
    keyboard = Keyboard()
    list(keyboard.feed("\x1b[200~"))
    for _ in range(40):
        list(keyboard.feed("x" * (MOST_PASTED // 10)))
    pasted = [m for m in keyboard.feed("\x1b[201~j") if isinstance(m, events.Paste)]
    assert sum(len(m.text) for m in pasted) <= MOST_PASTED
    assert not keyboard.in_paste


PROGRAM = """
import sys
from sftui.app import run_screen
from sftui.cockpit.screen_request import ScreenRequest
from tests.sftui.fake_run import ListSource, fake_run
end = run_screen(ScreenRequest(ListSource(fake_run(until=30)), "pty"))
print("OUTCOME", end.outcome.name, end.error, end.ended_by)
"""

BYTES = [b"\xfc", b"\x1b[M \xff\xff", b"\xe2\x82", b"\x1b[99999999999999999999~", b"\x00\x80\xc0"]


def test_the_screen_outlives_bytes_that_are_no_text(tmp_path: Path) -> None:
    """An umlaut of a Latin-1 terminal ended it, with exit code 0."""
    with children() as started:
        env = environment(SFTUI_CONFIG=str(tmp_path / "config.json"))
        screen = Terminal(started, "-c", PROGRAM, env=env)
        try:
            screen.wait_for("checkpoints")
            for piece in BYTES:
                os.write(screen.master, piece)
                time.sleep(0.2)
            assert screen.process.poll() is None, screen.words()[-2000:]
            screen.press("q")
            assert screen.wait() == 0
            assert "OUTCOME LEFT_RUNNING None None" in screen.words()
            assert screen.cooked()
        finally:
            screen.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("gap", [0.0, 0.02, 0.1])
def test_a_storm_of_signals_leaves_the_terminal_as_it_was(
    tmp_path: Path, number: signal.Signals, gap: float
) -> None:
    """The second of two SIGINT cut the restoring short: the shell stayed in the other screen."""
    with children() as started:
        env = environment(SFTUI_CONFIG=str(tmp_path / "config.json"))
        screen = Terminal(started, "-c", PROGRAM, env=env)
        try:
            screen.wait_for("checkpoints")
            deadline = time.monotonic() + 20
            while screen.process.poll() is None and time.monotonic() < deadline:
                screen.process.send_signal(number)
                time.sleep(gap or 0.001)
            assert screen.wait() == 0
            assert f"OUTCOME LEFT_RUNNING None {int(number)}" in screen.words()
            assert "Traceback" not in screen.words()
            assert screen.output.rindex(b"\x1b[?1049l") > screen.output.rindex(b"\x1b[?1049h")
            assert screen.cooked()
        finally:
            screen.close()


CLOSING = """
import asyncio, os, signal
from asyncio.selector_events import BaseSelectorEventLoop as Loop
close = Loop._close_self_pipe
def close_with_a_signal(loop):
    close(loop)
    os.kill(os.getpid(), %d)
Loop._close_self_pipe = close_with_a_signal
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("first", [True, False])
def test_a_signal_while_the_event_loop_closes_is_without_effect(
    tmp_path: Path, number: signal.Signals, first: bool
) -> None:
    """It printed a traceback over the shell: the loop's socket was closed, its handlers not."""
    with children() as started:
        env = environment(SFTUI_CONFIG=str(tmp_path / "config.json"))
        screen = Terminal(started, "-c", CLOSING % number + PROGRAM, env=env)
        try:
            screen.wait_for("checkpoints")
            if first:
                screen.process.send_signal(number)
            else:
                screen.press("q")
            assert screen.wait() == 0
            assert f"OUTCOME LEFT_RUNNING None {int(number)}" in screen.words()
            assert "Traceback" not in screen.words()
            assert screen.cooked()
        finally:
            screen.close()


HANGS = """
import os, time
from sftui.app import SftuiApp
tick = SftuiApp._tick
def hang(app):
    tick(app)
    if os.path.exists(%r):
        while True:
            time.sleep(1)
SftuiApp._tick = hang
"""


@pytest.mark.parametrize("why", ["nobody reads the terminal", "a handler hangs"])
def test_a_screen_that_cannot_end_ends_all_the_same(tmp_path: Path, why: str) -> None:
    """It had to be killed: its threads wait in a write or in a call that no signal cuts short."""
    flag = tmp_path / "hang"
    with children() as started:
        env = environment(SFTUI_CONFIG=str(tmp_path / "config.json"))
        screen = Terminal(started, "-c", HANGS % str(flag) + PROGRAM, env=env)
        try:
            screen.wait_for("checkpoints")
            if why == "a handler hangs":
                flag.touch()
                time.sleep(1)
            else:
                screen.deaf = True
                for columns in range(90, 130):
                    screen.resize(columns, 36)
                    time.sleep(0.05)
            screen.process.send_signal(signal.SIGTERM)
            assert screen.process.wait(15) == 128 + signal.SIGTERM
            assert screen.cooked()
        finally:
            screen.close()


STRINGS = ["\x1bP1$r0 q", "\x1b]11;rgb:0000/qqqq", "\x1b_Gi=31;OK", "\x1b^private", "\x1bXstart q"]


@pytest.mark.parametrize("string", STRINGS)
@pytest.mark.parametrize("end", ["\x1b\\", "\x07", ""])
@pytest.mark.parametrize("piece", [1, 5, 99])
def test_an_answer_of_the_terminal_is_no_key_and_swallows_none(
    string: str, end: str, piece: int
) -> None:
    """A `q` in it closed the screen; one without its end took every later key with it."""
    keyboard = Keyboard()
    text = string + end
    found = [text[:2], *(text[at : at + piece] for at in range(2, len(text), piece))]
    assert [key for data in found for key in keys(keyboard, data)] == []
    if not end:
        time.sleep(STRING_PATIENCE_SECONDS + 0.05)
        list(keyboard.tick())
    assert keys(keyboard, "j") == ["j"]


def test_an_answer_without_an_end_is_bounded() -> None:
    """Ten megabytes of it, and the keys behind them."""
    keyboard = Keyboard()
    keys(keyboard, "\x1bP")
    for _ in range(20):
        keys(keyboard, "x" * 512)
    assert keys(keyboard, "j") == ["j"]


def test_a_key_that_begins_like_a_control_string_is_a_key() -> None:
    """Alt with P sends the first two characters of one."""
    keyboard = Keyboard()
    assert keys(keyboard, "\x1bP") == []
    time.sleep(0.15)
    found = [m for m in keyboard.tick() if isinstance(m, events.Key)]
    time.sleep(0.15)
    found += [m for m in keyboard.tick() if isinstance(m, events.Key)]
    assert [key.key for key in found] == ["alt+shift+p"]
    assert keys(keyboard, "j") == ["j"]


@pytest.mark.parametrize(
    "answer", ["\x1b[5n", "\x1b[?62;4q", "\x1b[>41;354;0q", "\x1b[0 q", "\x1b[1x"]
)
def test_an_answer_that_nobody_waits_for_is_no_key(answer: str) -> None:
    """Its characters were typed: `q` of a device's answer closed the screen."""
    keyboard = Keyboard()
    assert keys(keyboard, answer + "j") == ["j"]


KNOWN = {
    "\x1b[A": "up",
    "\x1bOP": "f1",
    "\x1b[[A": "f1",
    "\x1b[15~": "f5",
    "\x1b[1;5C": "ctrl+right",
}


@pytest.mark.parametrize(("sequence", "key"), KNOWN.items())
def test_keys_of_known_terminals_arrive(sequence: str, key: str) -> None:
    """Also those of the Linux console, which go on after a `[`."""
    assert keys(Keyboard(), sequence) == [key]


def test_a_mouse_a_focus_and_a_size_arrive() -> None:
    """What is no key and is understood is not dropped either."""
    keyboard = Keyboard()
    found = list(
        keyboard.feed("\x1b[<0;3;4M\x1b[I\x1b[48;30;100;600;1000t\x1b[3;4R\x1b[200~p\x1b[201~j")
    )
    names = [type(message).__name__ for message in found]
    assert names == ["MouseDown", "AppFocus", "Resize", "CursorPosition", "Paste", "Key"]


def test_two_keys_that_close_a_screen_close_it_once(tmp_path: Path) -> None:
    """The second came before it was gone, and closed the last screen: the program ended."""
    with children() as started:
        env = environment(SFTUI_CONFIG=str(tmp_path / "config.json"))
        screen = Terminal(started, "-c", PROGRAM, env=env)
        try:
            screen.wait_for("checkpoints")
            for _ in range(5):
                screen.press("?")
                time.sleep(0.5)
                screen.press("\x1b[27u" * 4)
                time.sleep(0.5)
            assert screen.process.poll() is None, screen.words()[-2000:]
        finally:
            screen.close()


def typed_and_pasted(keyboard: Keyboard, data: str, piece: int) -> list[tuple[str, str]]:
    """(kind, key or text) of all messages of a text that comes in pieces."""
    messages = []
    for at in range(0, len(data), piece):
        messages += [*keyboard.feed(data[at : at + piece]), *keyboard.tick()]
    return [(type(m).__name__, getattr(m, "key", None) or getattr(m, "text", "")) for m in messages]


PASTED = {
    "colour": ("a\x1b[31mxy", "axy"),
    "mode": ("a\x1b[?1049lb", "ab"),
    "arrow": ("rm\x1b[Axy", "rmxy"),
    "title": ("a\x1b]0;t\x07x", "ax"),
    "answer": ("a\x1bP1$r0 q\x1b\\x", "ax"),
    "mouse": ("a\x1b[<0;3;4Mq", "aq"),
    "focus": ("a\x1b[I\x1b[Oq", "aq"),
    "size": ("a\x1b[48;30;100;600;1000tq", "aq"),
    "beginning": ("a\x1b[200~q", "aq"),
    "C1": ("a\x9b31mxq\x9d0;t\x9cx", "axqx"),
    "escape": ("a\x1b", "a"),
    "escapes": ("a\x1b\x1b\x1b[", "a"),
    "long": ("a\x1b[" + "1;" * 40 + "mq", "aq"),
    "lines": ("a\r\tq\n\x00x", "a\r\tq\nx"),
}


@pytest.mark.parametrize("piece", [1, 2, 7, 99])
@pytest.mark.parametrize("name", PASTED)
def test_an_escape_sequence_in_a_paste_is_no_key(name: str, piece: int) -> None:
    """Coloured output of a terminal, pasted into the screen, pressed `3`, `1` and `m`."""
    content, text = PASTED[name]
    found = typed_and_pasted(Keyboard(), f"\x1b[200~{content}\x1b[201~j", piece)
    assert found == [("Paste", text), ("Key", "j")]


PIECES = [
    *(b"\x1b", b"[", b"201", b"~", b"\x1b[20", b"\x1b[201", b"\x1b[200~", b"q", b"k"),
    *(b"\x1b[31m", b"\x1b[A", b"\x1b]0;t", b"\x07", b"\x1bP", b"\x1b[M", b"\xc2\x9b"),
]


@given(
    st.one_of(
        st.binary(max_size=80),
        st.lists(st.sampled_from(PIECES)).map(b"".join),
    ).filter(lambda content: b"\x1b[201~" not in content + b"\x1b[201"),
    st.lists(st.integers(1, 20), min_size=1),
    st.booleans(),
)
def test_all_that_a_paste_holds_is_text(content: bytes, lengths: list[int], closed: bool) -> None:
    """However it is cut, and whether its end comes or is waited for; the key behind it arrives."""
    keyboard = Keyboard()
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    data = b"\x1b[200~" + content + (b"\x1b[201~" if closed else b"")
    messages, at = [], 0
    for length in lengths * len(data):
        messages += [*keyboard.feed(decode(data[at : at + length])), *keyboard.tick()]
        at += length
        if at >= len(data):
            break
    if not closed:
        assert keyboard.in_paste
        messages += keyboard.end_paste()
    assert [type(m) for m in messages] in ([], [events.Paste])
    assert all("\x1b" not in m.text for m in messages if isinstance(m, events.Paste))
    assert not keyboard.in_paste
    assert keys(keyboard, "j") == ["j"]


@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.parametrize("mark", ["\x1b[200~", "\x1b[201~"])
def test_a_pause_within_the_mark_of_a_paste_types_none_of_it(mark: str, at: int) -> None:
    """A slow connection stops anywhere; only Escape and Alt with `[` are keys by then."""
    keyboard = Keyboard()
    before, after = ("", "q\x1b[201~") if mark == "\x1b[200~" else ("\x1b[200~q", "")
    messages = list(keyboard.feed(before + mark[:at]))
    time.sleep(0.12)
    messages += [*keyboard.tick(), *keyboard.feed(mark[at:] + after), *keyboard.feed("j")]
    found = [m.key if isinstance(m, events.Key) else "" for m in messages]
    assert [key for key in found if key not in ("escape", "left_square_bracket")] == ["", "j"]


@pytest.mark.parametrize("at", range(6))
def test_the_late_end_of_a_paste_is_no_key(at: int) -> None:
    """It came after the patience was over: what is left of it was typed."""
    keyboard = Keyboard()
    list(keyboard.feed("\x1b[200~q" + "\x1b[201~"[:at]))
    assert [type(m) for m in keyboard.end_paste()] == [events.Paste]
    assert keys(keyboard, "\x1b[201~"[at:] + "j") == ["j"]


def test_a_paste_behind_an_escape_or_in_an_answer_is_one() -> None:
    """An Escape before it is a key of its own; an answer without an end ends where it begins."""
    paste = "\x1b[200~q\x1b[201~j"
    assert typed_and_pasted(Keyboard(), "\x1b" + paste, 99) == [
        ("Key", "escape"),
        ("Paste", "q"),
        ("Key", "j"),
    ]
    for piece in (1, 3, 99):
        found = typed_and_pasted(Keyboard(), "\x1b]11;rgb:00" + paste, piece)
        assert found[-2:] == [("Paste", "q"), ("Key", "j")]


def test_a_paste_of_a_megabyte_of_sequences_is_read_at_once() -> None:
    """In the pieces in which the screen reads."""
    keyboard = Keyboard()
    data = "\x1b[200~" + "\x1b[31mab\x1b]\x1b[2" * (MOST_PASTED // 14) + "\x1b[201~j"
    began = time.process_time()
    found = typed_and_pasted(keyboard, data, 4096)
    assert time.process_time() - began < 2
    assert [kind for kind, _ in found] == ["Paste", "Key"]
