"""Names of benchmarks: one table for every reader of which numbers are accuracies of a task.

Programs print them with and without the word: `mmlu_acc`, `eval/arc_easy`, `gsm8k/acc_norm`,
`accuracy/HumanEval`. A name that holds no benchmark of the table (`train_acc`,
`rewards/accuracies`) is of another kind and no business of this table.
"""

from __future__ import annotations

import functools
import re

BENCHMARKS = {
    "mmlu": "MMLU",
    "mmlu_pro": "MMLU-Pro",
    "cmmlu": "CMMLU",
    "ceval": "C-Eval",
    "arc_easy": "ARC-Easy",
    "arc_challenge": "ARC-Challenge",
    "gsm8k": "GSM8K",
    "math": "MATH",
    "math500": "MATH-500",
    "humaneval": "HumanEval",
    "mbpp": "MBPP",
    "hellaswag": "HellaSwag",
    "piqa": "PIQA",
    "siqa": "SIQA",
    "boolq": "BoolQ",
    "winogrande": "WinoGrande",
    "openbookqa": "OpenBookQA",
    "commonsenseqa": "CommonsenseQA",
    "truthfulqa": "TruthfulQA",
    "lambada": "LAMBADA",
    "bbh": "BBH",
    "agieval": "AGIEval",
    "spellingbee": "SpellingBee",
}
"""Plain name -> the name that a person knows; also those of nanochat's and lm-eval's tasks."""

_AROUND = frozenset(
    {
        "acc", "accuracy", "norm", "exact", "match", "strict", "flexible", "extract", "eval",
        "evaluation", "val", "validation", "test", "chat", "sft", "benchmark", "benchmarks",
        "metrics", "metric", "task", "tasks", "score", "none",
    }
)  # fmt: skip
"""Words that may stand around the name of a benchmark."""

_SPELLED = {key.replace("_", ""): title for key, title in BENCHMARKS.items()}
_WORDS_OF_THEIR_OWN = (["math"], ["lambada"])
"""Names that alone, without a word of evaluation, may well mean something else."""
_SEPARATORS = re.compile(r"[_\-/.: ,|]+")


@functools.lru_cache(maxsize=1000)
def task_of(name: str) -> str | None:
    """The benchmark whose accuracy a number of that name is; None for any other number.

    `mmlu` alone is one; `mmlu_loss`, `train/mmlu_frac` and `arc_easy_time` are not.
    """
    words = [word for word in _SEPARATORS.split(name.strip().lower()) if word]
    rest = [word for word in words if word not in _AROUND]
    if rest == words and rest in _WORDS_OF_THEIR_OWN:
        return None
    return _SPELLED.get("".join(rest))


def is_of_a_task(word: str) -> bool:
    """Whether the first word of a name lets it be a benchmark's; True for any part of their names.

    So `task_of` of a longer name need not be asked.
    """
    parts = [part for part in _SEPARATORS.split(word.lower()) if part]
    return not parts or parts[0] in _AROUND or any(parts[0] in key for key in _SPELLED)


def looks_like_a_result(name: str) -> bool:
    """Whether a number seems to be some accuracy or score, of whatever."""
    words = _SEPARATORS.split(name.lower())
    return task_of(name) is not None or any(w.startswith(("acc", "score")) for w in words)
