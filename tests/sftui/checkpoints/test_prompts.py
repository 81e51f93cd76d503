"""Prompts asked from the checkpoint browser, and how answers are laid out."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.checkpoints import prompts
from sftui.checkpoints.answers import Answer, lines_of, paint_lines, wrap
from sftui.checkpoints.checkpoint_list import CheckpointList
from sftui.checkpoints.prompts import MOST_SAMPLES, Sampler, target_of
from sftui.drawing.canvas import Grid, text_width
from sftui.text.clean import clean
from tests.sftui.checkpoints import test_checkpoint_list
from tests.sftui.checkpoints.test_checkpoint_list import app_over, row_of
from tests.sftui.test_app import ready

run = test_checkpoint_list.run
"""The fixture."""


class FakeJob:
    """A process that answers when the test says so."""

    made: list["FakeJob"]

    def __init__(self, words, arguments, cwd, *, stdin=b""):
        self.arguments, self.stdin = arguments, stdin
        self.code = None
        self.closed = False
        self.printed = ""
        FakeJob.made.append(self)

    def answer(self, text, stopped_by="assistant_end"):
        self.printed = "a warning\n" + json.dumps({"text": text, "stopped_by": stopped_by}) + "\n"
        self.code = 0

    def fail(self, said, code=2):
        self.printed = said
        self.code = code

    def output(self):
        return self.printed

    def lines(self):
        return [clean(line) for line in self.printed.split("\n") if line]

    def close(self):
        self.closed = True


@pytest.fixture
def jobs(monkeypatch):
    FakeJob.made = []
    monkeypatch.setattr(prompts, "Job", FakeJob)
    return FakeJob.made


def shown(sampler) -> dict[str, list[tuple[str, str]]]:
    return {prompt: [(a.label, a.text) for a in answers] for prompt, answers in sampler.groups()}


def test_a_checkpoint_is_asked_greedily_by_its_folder(run, jobs):
    """The prompt goes by stdin, so that no prompt is taken for a flag; a GPU is left alone."""
    sampler, shelf = Sampler(), CheckpointList(run)
    assert sampler.ask(run, row_of(shelf, 300), "--help é", alive=True) == ""
    [job] = jobs
    assert job.arguments[:2] == ["chat", str(run.checkpoint(300))]
    assert {"--json", "--temperature=0", "--device-type=cpu"} <= set(job.arguments)
    assert job.stdin.decode() == "--help é"
    sampler.close()
    assert job.closed
    assert not sampler.busy


def test_answers_wait_for_each_other_and_stand_by_prompt(run, jobs):
    """One process at a time; the newest prompt first, the newest weights first."""
    sampler, shelf = Sampler(), CheckpointList(run)
    sampler.ask(run, row_of(shelf, 300), "one", alive=False)
    sampler.ask(run, row_of(shelf, 400), "one", alive=False)
    assert len(jobs) == 1
    assert "--device-type=cpu" not in jobs[0].arguments
    assert shown(sampler) == {"one": [("step 400", "waiting…"), ("step 300", "answering…")]}
    jobs[0].answer("first")
    sampler.poll()
    assert len(jobs) == 2
    jobs[1].answer("second", "max_tokens")
    sampler.poll()
    assert not sampler.busy
    assert all(job.closed for job in jobs)
    sampler.ask(run, row_of(shelf, 300), "two", alive=False)
    jobs[2].answer("")
    sampler.poll()
    assert shown(sampler) == {
        "two": [("step 300", "(nothing)")],
        "one": [("step 400", "second"), ("step 300", "first")],
    }
    assert sampler.groups()[1][1][0].note == "cut at 200 tokens"
    # Asked again, it is the new answer that stands there.
    sampler.ask(run, row_of(shelf, 300), "one", alive=False)
    jobs[3].answer("third")
    sampler.poll()
    assert shown(sampler)["one"] == [("step 400", "second"), ("step 300", "third")]
    assert sampler.prompt == "one"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("noise\nsftui: error: it is broken.\n", "it is broken."),
        ("Traceback\nRuntimeError: out of memory", "RuntimeError: out of memory"),
        ("", "exit code 2"),
    ],
)
def test_a_failure_is_one_line(run, jobs, said, line):
    """In the place of the answer, and the next is asked all the same."""
    sampler, shelf = Sampler(), CheckpointList(run)
    sampler.ask(run, row_of(shelf, 300), "x", alive=False)
    sampler.ask(run, row_of(shelf, 400), "x", alive=False)
    jobs[0].fail(said)
    sampler.poll()
    assert len(jobs) == 2
    assert shown(sampler)["x"][1] == ("step 300", line)
    assert sampler.groups()[0][1][1].bad


def test_a_process_that_cannot_be_started_is_told(run, monkeypatch):
    """No memory for a process, say: the screen goes on."""

    def refuse(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(prompts, "Job", refuse)
    sampler = Sampler()
    sampler.ask(run, row_of(CheckpointList(run), 300), "x", alive=False)
    assert shown(sampler)["x"] == [("step 300", "it could not be asked: Cannot allocate memory.")]
    assert not sampler.busy


def test_only_so_many_answers_are_kept(run, jobs):
    """The oldest go."""
    sampler, row = Sampler(), row_of(CheckpointList(run), 300)
    for i in range(MOST_SAMPLES + 3):
        sampler.ask(run, row, str(i), alive=False)
        jobs[-1].answer("x")
        sampler.poll()
    assert len(sampler.samples) == MOST_SAMPLES
    assert "2" not in shown(sampler)
    assert str(MOST_SAMPLES) in shown(sampler)


def test_what_a_row_is_to_the_command(run):
    """The start by its own name or file, an export by its file; what is gone is said."""
    shelf = CheckpointList(run)
    start, export = row_of(shelf, 0, "start"), row_of(shelf, 400, "nanochat")
    run.manifest.write_text(json.dumps({"id": run.id, "start": {"source": "starter"}}))
    assert target_of(run, start) == "starter"
    sampler = Sampler()
    assert "not on disk" in sampler.ask(run, export, "x", alive=False)
    assert "not on disk" in sampler.ask(run, row_of(shelf, 100), "x", alive=False)
    assert "not here" in sampler.ask(None, row_of(shelf, 300), "x", alive=False)
    run.manifest.write_text(json.dumps({"id": run.id}))
    assert "does not say" in sampler.ask(run, start, "x", alive=False)
    nowhere = {"source": "mid", "tag": "d1", "step": 1, "base_dir": str(run.path / "none")}
    run.manifest.write_text(json.dumps({"id": run.id, "start": nowhere}))
    assert "none" in sampler.ask(run, start, "x", alive=False)
    assert sampler.samples == []
    file = run.path / export.known.path
    file.parent.mkdir(parents=True)
    file.touch()
    assert target_of(run, export) == str(file)


async def test_keys_ask_from_the_browser(run, jobs):
    """Type, enter, the next checkpoint with the prompt remembered; esc leaves the input first."""
    app = app_over(run)
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("c")
        await pilot.pause()
        browser = app.screen
        assert not browser.answers.display
        await pilot.press("p", *"say m", "escape")
        await pilot.pause()
        assert app.screen is browser
        assert jobs == []
        # Keys of the browser are letters of a prompt.
        await pilot.press("p", *"mex d", "enter")
        await pilot.pause()
        assert [job.stdin for job in jobs] == [b"mex d"]
        assert not browser.prompt.display
        jobs[0].answer("\x1b[31m[bold]hi[/] " + "long " * 60)
        await pilot.press("down", "p", "enter")
        await pilot.pause()
        assert jobs[1].stdin == b"mex d"
        assert jobs[1].arguments[1] == str(run.checkpoint(300))
        jobs[1].answer("ho\n\nthere")
        browser.poll()
        text = browser.answers.text()
        assert "[bold]hi[/] long long" in text
        assert "\x1b" not in text
        # Line breaks are kept.
        rows = [line.strip("│ ") for line in text.split("\n")]
        at = rows.index("step 300  ho")
        assert rows[at : at + 3] == ["step 300  ho", "", "there"]
        assert text.index("step 400") < text.index("step 300")
        assert app.cockpit.preferences("t").prompt == "mex d"
        await pilot.press("escape", "c")
        await pilot.pause()
        assert app.screen.answers.display
        assert app.source.sent == []


@pytest.mark.parametrize("size", [(160, 48), (120, 36), (80, 24), (40, 10), (20, 5)])
async def test_the_answers_fit(run, jobs, size):
    """A long answer is wrapped and scrolled, never cut in mid-border."""
    app = app_over(run)
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("c", "p", *"ask", "enter")
        await pilot.pause()
        jobs[0].answer("\n".join(f"{i} " + "日本" * 70 for i in range(12)))
        app.screen.poll()
        await pilot.pause()
        answers = app.screen.answers
        lines = answers.text().splitlines()
        if answers.size.height >= 2:
            assert lines[0][0] + lines[-1][-1] == "╭╯"
        assert app.screen.table.text().splitlines()[-1][-1] == "╯"
        for _ in range(40):
            await pilot.press("shift+down")
        if answers.size.height > 3:
            assert "日" in answers.text().splitlines()[-2]
            assert "below" not in answers.text().splitlines()[-1]
        await pilot.press("shift+up")


@pytest.mark.slow
async def test_an_answer_from_a_real_process(run, tmp_path, monkeypatch):
    """The starter base itself, asked through the keys; the screen answers keys meanwhile."""
    run.manifest.write_text(json.dumps({"id": run.id, "start": {"source": "starter"}}))
    app = app_over(run)
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("c", *["down"] * 9, "p", *"Hello!", "enter")
        browser = app.screen
        deadline = time.monotonic() + 90
        while app.cockpit.checkpoints.sampler.busy:
            assert time.monotonic() < deadline
            await pilot.press("up", "down")
            await pilot.pause(0.2)
            browser.poll()
        [(_, [said])] = app.cockpit.checkpoints.sampler.groups()
        assert said.label == "start"
        assert not said.bad
        assert said.text


@given(st.text("ab 日本é ", max_size=80), st.integers(2, 20))
def test_wrapping_loses_nothing(text, cells):
    """Every row fits, and only blanks at breaks are gone."""
    rows = wrap(text, cells)
    assert all(text_width(row) <= cells for row in rows)
    assert "".join(rows).replace(" ", "") == text.replace(" ", "")


def test_wrapping_keeps_words():
    """A word longer than a row is broken, others are not."""
    assert wrap("one two three", 8) == ["one two", "three"]
    assert wrap("a" * 10 + " b", 4) == ["aaaa", "aaaa", "aa b"]
    assert wrap("  indented text", 12) == ["  indented", "text"]
    assert wrap("", 5) == [""]


@given(
    st.lists(
        st.tuples(
            st.text(max_size=40),
            st.lists(
                st.builds(
                    Answer,
                    label=st.text(max_size=30),
                    text=st.text(max_size=200),
                    bad=st.booleans(),
                ),
                max_size=3,
            ),
        ),
        max_size=3,
    ),
    st.integers(1, 60),
    st.integers(0, 30),
)
def test_anything_said_is_drawn_inside(groups, width, top):
    """Whatever a model says: no control character, no cell over the border, any scroll."""
    grid = Grid(9, width + 4)
    grid.frame([], border=0)
    paint_lines(grid, lines_of(groups, width), top)
    for line in grid.lines():
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line)
    assert all(line[0] == "│" and line[-1] == "│" for line in grid.lines()[1:-1])
