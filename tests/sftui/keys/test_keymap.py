"""Keys that a person chose: what the file says, what is refused, and what the screen then does."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events
from textual.widgets import OptionList

from engine.control import Command
from sftui.app import SftuiApp
from sftui.cockpit.screen_request import ScreenRequest
from sftui.compare_app import CompareApp
from sftui.keys import key_table, keymap
from sftui.keys.key_table import DEFAULT_KEYS, TABLE
from sftui.keys.keymap import Keymap, checked
from sftui.screens.browser import Browser
from sftui.screens.help import help_content
from tests.sftui.fake_run import START, ListSource, fake_run
from tests.sftui.screens.test_overlay import three
from tests.sftui.test_app import Clock, panel_of, ready

RUNNING = fake_run(until=120)


@pytest.fixture
def written(monkeypatch, tmp_path):
    """Write keys.toml where the screen looks for it."""
    monkeypatch.setenv("SFTUI_CONFIG", str(tmp_path / "preferences.json"))

    def write(text: str | bytes) -> Keymap:
        data = text.encode() if isinstance(text, str) else text
        (tmp_path / "keys.toml").write_bytes(data)
        return keymap.load()

    return write


def app_with(found: Keymap) -> SftuiApp:
    end = max(e.stamp.t or START for e in RUNNING)
    return SftuiApp(
        ScreenRequest(ListSource(list(RUNNING)), "t"), now=Clock(end + 0.5), keymap=found
    )


# ---- the file ------------------------------------------------------------------------------------


def test_keys_may_be_written_as_people_do(written):
    """Characters, names, several, modifiers; a comment is one."""
    found = written(
        '# mine\npause = "p"\nzoom_in = ["I", "+"]\nsearch = "ctrl+f"\nhelp = "?"\n'
        'smooth = "shift+q"\nlog_y = "esc" \nreset_look = "0"\n'
    )
    assert found.problems == ()
    assert found.keys == {
        "pause": "p", "zoom_in": "I,plus", "search": "ctrl+f", "help": "question_mark",
        "smooth": "Q", "log_y": "escape", "reset_look": "0",
    }  # fmt: skip


def test_without_a_file_nothing_changes(monkeypatch, tmp_path):
    """And nothing is said."""
    monkeypatch.setenv("SFTUI_CONFIG", str(tmp_path / "none" / "preferences.json"))
    assert keymap.load() == Keymap()
    assert keymap.load().said == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('paus = "p"', "nothing is called paus; the nearest is pause."),
        ("pause = 3", 'pause has no key; write pause = "p"'),
        ("pause = []", "pause has no key"),
        ('pause = ["p", 1]', "pause has no key"),
        ('pause = ""', "pause has no key"),
        ('pause = "spcae"', "pause: no key is called spcae; the nearest is space."),
        ('pause = "ctl+p"', "pause: no key is called ctl+p"),
        ('pause = "f99"', "no key is called f99"),
        ('smooth = "l"', "smooth cannot have l: log_y has it."),
        ('smooth = "u"\nfit = "u"', "fit cannot have u: smooth has it."),
        ('pause = "p', "Unterminated string"),
        ("pause p", "Lines look like"),
        ('[keys]\npause = "p"', "nothing is called keys"),
        (b"\xff\xfe\x00", "no UTF-8"),
        ("a = " + "[" * 5000, ""),
        ('"[bold]\\u001b]52;c;aGk=\\u0007" = "p"', "nothing is called [bold]"),
        ('pause = "\\u001b[2J"', "no key is called"),
        ("pause = " + "9" * 5000, "Exceeds the limit"),
        ("x" * 300_000, "larger than"),
    ],
)
def test_what_cannot_be_used_is_one_line(written, text, words):
    """Never a traceback; the table's own key stays."""
    found = written(text)
    assert len(found.problems) == 1
    assert words in found.said
    assert found.said.startswith("keys.toml: ")
    assert "\n" not in found.said
    assert found.said.isprintable()
    assert len(found.said) < 250


def test_good_lines_count_beside_bad_ones(written):
    """The first fault is told, the others are counted."""
    found = written('pause = "p"\nnope = "q"\nsmooth = "l"\nfit = 1\n')
    assert found.keys == {"pause": "p"}
    assert len(found.problems) == 3
    assert found.said.endswith("(2 more lines not used)")


def test_two_entries_may_swap_their_keys():
    """What is given away is free."""
    found = checked({"smooth": "l", "log_y": "s"})
    assert found == Keymap({"smooth": "l", "log_y": "s"})


def test_a_key_may_mean_something_else_in_another_place():
    """The browser has keys of its own, and a search goes before the chart."""
    assert checked({"shelf_mark": "s", "search_next": "l"}).problems == ()
    assert checked({"shelf_mark": "e"}).problems
    assert checked({"search_next": "N"}).problems
    assert checked({"play": "e"}).problems, "over a replay that is a key as well"


WORDS = st.one_of(
    st.sampled_from([key.id for key in TABLE]), st.text(max_size=8), st.just("x" * 500)
)
VALUES = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["p", "ctrl+x", "f5", "escape", "+", "ctrl++", "shift+A", "a,b"]),
    st.lists(st.sampled_from(["p", "l", "s", "", "tab"]), max_size=3),
    st.integers(),
    st.none(),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


@given(st.dictionaries(WORDS, VALUES, max_size=12))
def test_whatever_is_asked_no_key_has_two_meanings(raw):
    """And nothing raises."""
    found = checked(raw)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202e]", " ".join(found.problems))
    table = DEFAULT_KEYS.changed(found.keys)
    for mode in ("live", "replay", *key_table.SCREENS):
        pressed = [k for key in table.of_mode(mode) for k in key.keys.split(",")]
        assert len(set(pressed)) == len(pressed)
    assert all(key.keys and key.shown for key in table.entries)


@pytest.mark.parametrize("key", TABLE, ids=lambda key: key.id)
def test_a_key_is_shown_as_the_table_shows_it(key):
    """So a remapped one looks like the others."""
    assert key_table.shown_name(key.keys.split(",")[0]) == key.shown


# ---- the screen ----------------------------------------------------------------------------------


async def test_the_new_key_acts_and_the_old_does_not():
    """Also where the old key has other meanings left."""
    app = app_with(checked({"pause": "p", "next_event": "u", "smooth": ["ctrl+s", "y"]}))
    async with app.run_test(size=(160, 48)) as pilot:
        await ready(pilot)
        await pilot.press("space")
        assert app.source.sent == []
        await pilot.press("p")
        assert [r.command for r in app.source.sent] == [Command.PAUSE]
        await pilot.press("s")
        assert app.cockpit.view.smoothing == 0
        await pilot.press("ctrl+s", "y")
        assert app.cockpit.view.smoothing == 2
        await pilot.press("u", "n")
        before = app.cockpit.view.viewport.cursor
        assert before == 0
        await pilot.press("slash", *"val", "enter", "N")
        await pilot.press("n")
        assert app.cockpit.view.viewport.cursor == before, "n is still the search's"
        await pilot.press("escape", "u")
        assert app.cockpit.view.viewport.cursor > before


async def test_help_footer_palette_and_panes_show_it():
    """Every place that names a key."""
    app = app_with(checked({"evaluate": "E", "help": "f1", "search_next": ")", "log_end": "G"}))
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        footer = panel_of(dashboard, "footer").grid.line(0)
        assert "E Eval now" in footer
        assert "f1 Help" in footer
        assert "         E  Validate and evaluate" in help_content(app.keys).plain
        await pilot.press("colon", *"eval")
        await pilot.pause()
        row = app.screen.query_one(OptionList).get_option_at_index(0)
        assert str(row.prompt).split()[0] == "eval"
        assert str(row.prompt).endswith("E")
        await pilot.press("escape")
        await pilot.pause()
        await pilot.press("up", "up")
        await pilot.pause()
        log = panel_of(dashboard, "log")
        assert "G follows" in log.grid.line(log.size.height - 1)
        await pilot.press("slash", "a", "enter")
        assert ") later · N earlier" in log.grid.line(0)
        await pilot.press("f1")
        await pilot.pause()
        assert len(app.screen_stack) == 3


async def test_screens_of_their_own_and_the_palette_take_theirs():
    """The browser's keys, and ctrl+p."""
    app = app_with(checked({"browse": "o", "shelf_close": "b", "palette": "f2"}))
    async with app.run_test(size=(160, 48)) as pilot:
        await ready(pilot)
        await pilot.press("o")
        await pilot.pause()
        assert isinstance(app.screen, Browser)
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, Browser)
        await pilot.press("b")
        await pilot.pause()
        assert not isinstance(app.screen, Browser)
        await pilot.press("ctrl+p")
        await pilot.pause()
        assert len(app.screen_stack) == 2
        await pilot.press("f2")
        await pilot.pause()
        assert len(app.screen_stack) == 3


async def test_a_fault_is_said_when_the_screen_opens(written):
    """Once, literally, and the screen works with the table's keys."""
    app = app_with(written('"[bold]x" = "p"\n'))
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        said = [n.message for n in app._notifications]
        assert said == ["keys.toml: nothing is called [bold]x."]
        await pilot.press("space")
        assert len(app.source.sent) == 1


async def test_an_app_without_a_keymap_has_the_tables_keys():
    """Also after one that had others."""
    assert app_with(checked({"pause": "p"})).keys.by_id("pause").keys == "p"
    app = app_with(Keymap())
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        assert app.keys.by_id("pause").keys == "space"
        app.post_message(events.Key("space", " "))
        await pilot.pause()
        assert len(app.source.sent) == 1


async def test_the_compare_screen_takes_them_too(tmp_path):
    """It is another program with the same table."""
    app = CompareApp(three(tmp_path), keymap=checked({"overlay_hide": "x"}))
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause()
        footer = next(p for p in app.board.panels if p.id == "footer")
        assert "x Hide" in footer.grid.line(0)
        await pilot.press("space")
        assert len(app.overlay.shown) == 3
        await pilot.press("x")
        assert len(app.overlay.shown) == 2


def test_verbs_keys_move_where_a_file_from_before_has_theirs(written):
    """Keys of the line and of enter give way to what a user asked for long ago."""
    found = written('smooth = "r"\nfit = "u"\nhide_alarms = "colon"\njump = "enter"\n')
    assert found.problems == ()
    late = DEFAULT_KEYS.changed(found.keys)
    moved = ("learning_rate", "more_steps", "command", "open_panel")
    assert [late.by_id(name).keys for name in moved] == ["ctrl+r", "ctrl+u", "f4", "ctrl+o"]
    # Who asks for the newer entry as well decides.
    assert written('smooth = "r"\nlearning_rate = "f9"\n').problems == ()


def test_a_key_that_came_later_gives_way_to_what_a_file_says():
    """`y` had no meaning once: who gave it one keeps it, and copying moves to its spare key."""
    table = key_table.DEFAULT_KEYS
    keymap = checked({"pause": "y", "overlay_pin": "Y"})
    assert not keymap.problems
    changed = table.changed(keymap.keys)
    assert changed.by_id("pause").keys == "y"
    assert changed.by_id("copy").keys == "ctrl+y"
    assert changed.by_id("overlay_export").keys == "ctrl+e"
    assert changed.by_id("overlay_copy").keys == "y", "another screen, where y is free"
