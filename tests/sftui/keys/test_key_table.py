"""One table of keys, and everything that must agree with it."""

import inspect
from collections import Counter

from textual.actions import parse

from sftui.app import SftuiApp
from sftui.keys import key_table
from sftui.keys.key_table import GROUPS
from sftui.screens.browser import Browser
from sftui.screens.charts import ChartsScreen
from sftui.screens.help import help_content, key_sections
from sftui.screens.line_reader import LineReader
from sftui.screens.overlay import OverlayScreen
from sftui.screens.picker import PickerScreen
from sftui.screens.questions import QuestionsScreen
from sftui.screens.rows import RowsScreen
from sftui.verbs import verb_table
from sftui.widgets.log_pane import LogPane
from sftui.widgets.sample_panel import SamplePanel


def test_ids_and_keys_are_unique():
    """No key has two meanings at one place and no action two names."""
    for mode in ("live", "replay", *key_table.SCREENS):
        pressed = Counter(
            k for key in key_table.DEFAULT_KEYS.of_mode(mode) for k in key.keys.split(",")
        )
        assert not [k for k, n in pressed.items() if n > 1]
    assert len({key.id for key in key_table.TABLE}) == len(key_table.TABLE)


def test_every_action_exists_and_takes_what_its_key_gives():
    """A key of the table does something."""
    for key in key_table.TABLE:
        owner = {
            "browser": Browser,
            "charts": ChartsScreen,
            "compare": OverlayScreen,
            "questions": QuestionsScreen,
            "rows": RowsScreen,
            "samples": SamplePanel,
            "log": LogPane,
            "line": LineReader,
            "picker": PickerScreen,
        }.get(key.mode, SftuiApp)
        _, name, arguments = parse(key.action)
        inspect.signature(getattr(owner, f"action_{name}")).bind(None, *arguments)


def test_groups_are_known_and_what_cannot_be_undone_asks():
    """Every key has its chapter in the help; leaving never asks."""
    assert {key.group for key in key_table.TABLE} == set(key_table.GROUPS)
    assert [key.id for key in key_table.TABLE if key.confirm] == ["stop", "shelf_delete"]


def test_footer_is_ranked():
    """No two keys claim one place in the footer."""
    for mode in ("live", "replay", *key_table.SCREENS):
        ranks = [key.footer for key in key_table.DEFAULT_KEYS.footer(mode)]
        assert ranks == sorted(set(ranks))


def test_markdown_has_every_key():
    """The table of `docs/keys.md` is this one."""
    text = key_table.markdown()
    for key in key_table.TABLE:
        assert f"`{key.shown}` | {key.help}" in text


def test_help_goes_on_under_its_beginning():
    """A line too long for the page is folded there, not under the key."""
    for width in (40, 60, 77):
        lines = help_content(key_table.DEFAULT_KEYS, width=width).plain.splitlines()
        heads = [line for line in lines if line and not line.startswith(" ")]
        verbs = {f":  {title}" for title in verb_table.GROUPS.values()}
        assert set(heads) <= {*GROUPS.values(), "Marks", *verbs}
        assert max(len(line) for line in lines) <= width


def test_a_row_of_the_help_does_not_repeat_its_heading():
    """`Replay: play` stands under "A replay"; each sentence begins with a capital."""
    for section in key_sections(key_table.DEFAULT_KEYS, "", ""):
        words = [words for _, words in section.rows]
        begun = {text.partition(": ")[0] for text in words if ": " in text}
        assert not begun & {"Replay", "Log", "Line", "Checkpoints", "Questions", "Rows", "Runs"}
        assert [text for text in words if text[0].islower()] == []
