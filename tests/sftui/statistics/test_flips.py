"""Questions that flipped between two checkpoints: which, how, and by which keys."""

import dataclasses
import json
from datetime import datetime

import numpy as np
import pytest

from engine import config
from engine import events as ev
from engine.evaluation.eval_items import EvalResult, save_items
from engine.run import run_dir
from engine.run.run_dir import RunDir
from sftui.app import SftuiApp
from sftui.cockpit.screen_request import ScreenRequest
from sftui.drawing.canvas import Grid
from sftui.state.run_state import RunState
from sftui.statistics.flips import FlipBook, Questions, open_book
from sftui.statistics.paired_tests import paired
from sftui.view.view import View
from sftui.widgets.flip_table import FlipTable
from tests.sftui.fake_run import START, ListSource
from tests.sftui.test_app import Clock, ready

WANT = [
    {"question": f"How much is {n} and {n}?", "choices": ["1", "2", "3"], "answer": "ABC"[n % 3]}
    for n in range(12)
]


@pytest.fixture
def run(tmp_path) -> RunDir:
    """A run that asked twelve questions of its own data, at the start and at step 5."""
    data = tmp_path / "data"
    data.mkdir()
    rows = [json.dumps(row | {"letters": ["A", "B", "C"]}) for row in WANT]
    (data / "ARC-Easy.test.jsonl").write_text("\n".join(rows) + "\n")
    made = run_dir.create(tmp_path / "runs", "x", datetime(2026, 1, 2, 3, 4, 5))
    settings = config.RunConfig().replace(data_dir=str(data), eval_tasks=("ARC-Easy",))
    made.manifest.write_text(json.dumps({"id": made.id, "config": settings.flat()}))
    questions = Questions(made)
    questions.wait(20)
    assert not questions.problem
    asked = list(questions._found["ARC-Easy"].values())
    for step, right in ((0, range(4)), (5, range(2, 9))):
        predicted = [
            q.gold if i in right else "ABC"["ABC".index(q.gold) - 1] for i, q in enumerate(asked)
        ]
        p = np.full((len(asked), 3), 0.2, dtype=np.float32)
        for i, letter in enumerate(predicted):
            p[i]["ABC".index(letter)] = 0.6
        save_items(
            made.eval_items(step, "ARC-Easy"),
            EvalResult(
                task="ARC-Easy",
                item_set="s" * 64,
                item_ids=tuple(q.id for q in asked),
                subjects=tuple("ab"[i % 2] for i in range(len(asked))),
                gold=tuple(q.gold for q in asked),
                predicted=tuple(predicted),
                letter_logprobs=np.log(p),
                item_letters=(("A", "B", "C"),) * len(asked),
                chance=1 / 3,
                one_letter=1 / 3,
            ),
        )
    return made


def events() -> list[ev.Event]:
    found = [
        ev.EvalFinished(
            step=step, task="ARC-Easy", correct=correct, total=12, item_set="s" * 64,
            items_file=f"evals/step-{step}.ARC-Easy.npz", stamp=ev.Stamp(seq=step + 1, t=START),
        )
        for step, correct in ((0, 4), (5, 7))
    ]  # fmt: skip
    return [*found]


def state() -> RunState:
    made = RunState()
    for event in events():
        made.apply(event)
    return made


def test_what_was_gained_and_lost(run):
    """Five gained, two lost, by item, with both answers and their probabilities."""
    book = open_book(run.path, state(), "ARC-Easy", 5, 0)
    assert isinstance(book, FlipBook)
    assert (len(book.of_kind("gained")), len(book.of_kind("lost"))) == (5, 2)
    assert len(book.of_kind("flipped")) == 7
    assert len(book.of_kind("all")) == 12
    assert book.comparison == paired(5, 2, 12)
    gained = book.of_kind("gained")[0]
    assert gained.now == gained.gold != gained.before
    assert gained.p_now[gained.letters.index(gained.now)] == pytest.approx(0.6, abs=1e-3)
    assert sum(g + lost for _, g, lost in book.subjects()) == 7
    assert sum(book.answered.values()) == sum(book.gold.values()) == 12
    assert book.error_by_subject > 0


def test_why_there_is_nothing_to_compare(run):
    """A log without items, a file that is gone, other questions: each a sentence."""
    assert "no answers question by question" in open_book(None, state(), "ARC-Easy", 5, 0)
    assert "no answers" in open_book(run.path, state(), "MMLU", 5, 0)
    run.eval_items(5, "ARC-Easy").unlink()
    assert isinstance(open_book(run.path, state(), "ARC-Easy", 5, 0), str)


def test_questions_that_cannot_be_read_are_told(run, tmp_path):
    """The data are gone: the flips stay, and why the words do not is said."""
    (tmp_path / "data" / "ARC-Easy.test.jsonl").unlink()
    questions = Questions(run)
    questions.wait(20)
    assert questions.ready
    assert questions.problem


async def test_keys_of_the_questions(run):
    """Cursor, filter, against, task and steps; the words of the question are there."""
    app = SftuiApp(ScreenRequest(ListSource(events()), "t", folder=run.path), now=Clock(START))
    async with app.run_test(size=(130, 40)) as pilot:
        await ready(pilot)
        await pilot.press("w")
        await pilot.pause()
        table = app.screen.table
        table.questions.wait(20)
        await pilot.press("down")
        text = table.text()
        assert "▲ 5 gained" in text
        assert "How much is" in text
        assert "← now" in text
        assert table.cursor == 1
        await pilot.press("f")
        assert [item.kind for item in table.items] == ["gained"] * 5
        await pilot.press("f")
        assert [item.kind for item in table.items] == ["lost"] * 2
        await pilot.press("b", "t", "left", "right", "pagedown", "pageup")
        assert isinstance(table.book, FlipBook)
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is app.cockpit.dashboard
        assert app.source.sent == []


@pytest.mark.parametrize("evals", [[], events()[:1], events()])
@pytest.mark.parametrize("size", [(160, 48), (60, 16), (20, 5)])
async def test_without_items_it_says_why(evals, size):
    """Over a log, before the first and after the first evaluation, at any size."""
    app = SftuiApp(ScreenRequest(ListSource(list(evals)), "t"), now=Clock(START))
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("w")
        await pilot.pause()
        assert isinstance(app.screen.table.book, str)
        await pilot.press("down", "f", "b", "left")


def test_hostile_words_stay_in_their_place(run):
    """Escapes and wide characters in ids and subjects are drawn as text."""
    book = open_book(run.path, state(), "ARC-Easy", 5, 0)
    nasty = "\x1b[31m日本\x07[b]" * 30
    items = tuple(dataclasses.replace(i, id=nasty, subject=nasty, before=nasty) for i in book.items)
    table = FlipTable(state(), View(now=lambda: START), id="flips")
    table.book = dataclasses.replace(book, items=items, task=nasty)
    for width in (1, 12, 60, 100, 170):
        grid = Grid(30, width)
        table.paint(grid)
        assert "\x1b" not in "".join(grid.lines())
