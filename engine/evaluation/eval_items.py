"""The result of one evaluation, and its file: one entry an item, kept for paired tests.

Two results may be compared item by item only if their `item_set` is equal. The
file is written aside and renamed, so a reader never meets half of one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.errors import DataError
from engine.events import EvalFinished
from engine.files import npz, written

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalResult:
    """Answers of one task's questions, in evaluation order. I items, L letters at most."""

    task: str
    item_set: str
    item_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    gold: tuple[str, ...]
    predicted: tuple[str, ...]
    letter_logprobs: npt.NDArray[np.float32]
    """[I, L] log-probabilities among the item's own letters; -inf past its last letter."""
    item_letters: tuple[tuple[str, ...], ...]
    """The letters each item offers, in the order of `letter_logprobs`."""
    chance: float
    one_letter: float
    answers: tuple[str, ...] = ()
    """What was written, where answers are written out; `predicted` is then what it comes to."""

    @property
    def by_letter(self) -> bool:
        """Whether the questions are answered by letter; otherwise no item has letters."""
        return any(self.item_letters)

    @property
    def total(self) -> int:
        return len(self.gold)

    @property
    def correct(self) -> int:
        return sum(a == b for a, b in zip(self.predicted, self.gold, strict=True))

    def finished(self, step: int, *, seconds: float, items_file: str | None) -> EvalFinished:
        """What is told of it; `items_file`: where its items were kept, in the run directory."""
        return EvalFinished(
            step=step,
            task=self.task,
            correct=self.correct,
            total=self.total,
            accuracy=self.accuracy,
            chance=self.chance,
            one_letter=self.one_letter if self.by_letter else None,
            item_set=self.item_set,
            letters=self.letters,
            seconds=round(seconds, 3),
            items_file=items_file,
        )

    def right(self) -> npt.NDArray[np.bool_]:
        """[I] whether each item was answered right."""
        answers = zip(self.predicted, self.gold, strict=True)
        return np.fromiter((a == b for a, b in answers), dtype=np.bool_, count=self.total)

    def gold_probabilities(self) -> npt.NDArray[np.float32]:
        """[I] probability of the right letter among the item's own; NaN where it is not one."""
        columns = [
            letters.index(gold) if gold in letters else -1
            for letters, gold in zip(self.item_letters, self.gold, strict=True)
        ]
        found = np.full(self.total, np.nan, dtype=np.float32)
        known = np.array(columns, dtype=np.int64)
        rows = np.flatnonzero(known >= 0)
        with np.errstate(under="ignore"):
            found[rows] = np.exp(self.letter_logprobs[rows, known[rows]])
        return found

    @property
    def accuracy(self) -> float:
        return self.correct / self.total if self.total else float("nan")

    @property
    def letters(self) -> dict[str, int]:
        """How often each letter was answered, in the alphabet's order; of no other answers."""
        if not self.by_letter:
            return {}
        return dict(sorted(Counter(self.predicted).items()))


def save_items(path: Path, result: EvalResult) -> None:
    """Write the result as a compressed npz (log-probabilities as fp16); whole or not at all."""
    # Of a run whose folder was deleted nothing is made anew.
    path.parent.mkdir(exist_ok=True)
    # A link may have been put there while the run trains.
    written.refuse_linked(path.parent)
    with written.replacing(path, sync=True) as fresh, fresh.open("wb") as file:
        np.savez_compressed(
            file,
            format=np.array(FORMAT),
            task=np.array(result.task),
            item_set=np.array(result.item_set),
            item_ids=_bytes(result.item_ids),
            subjects=_bytes(result.subjects),
            gold=_bytes(result.gold),
            predicted=_bytes(result.predicted),
            letters=_bytes(["\x1f".join(letters) for letters in result.item_letters]),
            letter_logprobs=result.letter_logprobs.astype(np.float16),
            baselines=np.array([result.chance, result.one_letter]),
            answers=_bytes(result.answers),
        )


def load_items(path: Path) -> EvalResult:
    """Read a file of `save_items`.

    Raises:
        DataError: the file is missing, damaged or of another kind.
    """
    try:
        with npz.opened(path) as found:
            if int(found["format"]) != FORMAT:
                raise DataError(
                    f"{path}: eval results of format {int(found['format'])}; expected {FORMAT}. "
                    "Evaluate again with this version."
                )
            chance, one_letter = found["baselines"].tolist()
            return EvalResult(
                task=str(found["task"]),
                item_set=str(found["item_set"]),
                item_ids=_texts(found["item_ids"]),
                subjects=_texts(found["subjects"]),
                gold=_texts(found["gold"]),
                predicted=_texts(found["predicted"]),
                letter_logprobs=found["letter_logprobs"].astype(np.float32),
                item_letters=tuple(
                    tuple(letters.split("\x1f")) if letters else ()
                    for letters in _texts(found["letters"])
                ),
                chance=chance,
                one_letter=one_letter,
                # Files of earlier versions hold letters alone.
                answers=_texts(found["answers"]) if "answers" in found.files else (),
            )
    except OSError as error:
        reason = error.strerror or "not an npz file"
        raise DataError(f"{path}: cannot be read as eval results ({reason}).") from None
    except npz.DAMAGED as error:
        raise DataError(f"{path}: not a file of eval results ({error}).") from None


def _bytes(texts: tuple[str, ...] | list[str]) -> npt.NDArray[np.bytes_]:
    """Texts as UTF-8 bytes: numpy's own text type takes 4 bytes a character."""
    return np.array([text.encode() for text in texts], dtype=np.bytes_)


def _texts(array: npt.NDArray[np.bytes_]) -> tuple[str, ...]:
    return tuple(bytes(item).decode() for item in array)
