"""A question with few answers, over the dimmed screen. The safe answer is `esc`, or `n`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from sftui.screens.modal import Modal


@dataclass(frozen=True, slots=True)
class Answer:
    """One key and what it does, in words."""

    key: str
    value: str
    words: str


class _Row(Static):
    """One answer in a line of its own."""

    def __init__(self, answer: Answer, words: Content) -> None:
        super().__init__(words, markup=False)
        self.answer = answer


class Confirm(Modal[str]):
    """Dismissed with the value of the answer, or with an empty string.

    Args:
        is_idle: whether there is nothing to decide any more (the run has ended meanwhile): the
            question goes by itself then.
    """

    def __init__(
        self,
        question: str,
        detail: str,
        answers: tuple[Answer, ...],
        is_idle: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__()
        self._is_idle = is_idle
        self._question = question
        self._detail = detail
        self._answers = answers

    def compose(self) -> ComposeResult:
        question = Content.styled(self._question, "bold")
        detail = Content.styled(self._detail, "$role-faint")
        with Vertical(id="dialog"):
            yield Static(Content.assemble(question, "\n", detail, "\n"), markup=False)
            for answer in (*self._answers, Answer("esc", "", "back, change nothing")):
                key = Content.styled(f"{answer.key:>6}", "bold $role-warn")
                yield _Row(answer, Content.assemble(key, f"  {answer.words}"))

    def on_mount(self) -> None:
        if self._is_idle is not None:
            self.set_interval(0.25, self._go_when_idle)

    def _go_when_idle(self) -> None:
        if self._is_idle is not None and self._is_idle() and self.is_current:
            self.dismiss("")

    def on_click(self, event: events.Click) -> None:
        """An answer is a button; beside the question nothing is changed."""
        if isinstance(event.widget, _Row):
            self.dismiss(event.widget.answer.value)
        elif event.widget is self:
            self.dismiss("")

    def on_key(self, event: events.Key) -> None:
        event.stop()
        if event.key in ("escape", "n"):
            self.dismiss("")
            return
        for answer in self._answers:
            if event.key == answer.key or event.character == answer.key:
                self.dismiss(answer.value)
                return
