"""What the names of numbers mean: the one table of names, whichever trainer prints them.

A name is cut into words (`train/loss`, `eval_test_loss`, `lm loss`, `globalStep`), and the
words decide. What a person says with `--map` goes before the table. Names that mean nothing
here stay free metrics under their own name.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from engine.errors import UsageError
from sftui.readers.chinese import in_english
from sftui.readers.tasks import is_of_a_task, task_of


class Kind(Enum):
    """What a number is."""

    LOSS = auto()
    VALIDATION = auto()
    ACCURACY = auto()
    STEP = auto()
    EPOCH = auto()
    PLANNED = auto()
    EPOCHS = auto()
    RANK = auto()
    TIME = auto()
    FIELD = auto()
    FREE = auto()
    NOTHING = auto()
    """Known, and of no use to anybody: a percentage of progress, a cost of an evaluation."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a name stands for."""

    kind: Kind
    name: str = ""
    """Column of an update, validation set, task of an accuracy, or the name of a counter."""
    order: int = 0
    """Of two names that mean the same in one row, the lower one counts."""
    metric: str = "loss"


VALIDATION_WORDS = frozenset(
    [
        "val",
        "valid",
        "validation",
        "validate",
        "validating",
        "eval",
        "evaluation",
        "evaluate",
        "evaluating",
        "test",
        "testing",
        "dev",
        "heldout",
        "holdout",
    ]
)
TRAINING_WORDS = frozenset(["train", "training", "trn"])

NAMING = frozenset(["name", "tag", "metric", "key", "metric_name", "variable"])
VALUES = frozenset(["value", "metric_value"])
"""Of a long table: one number a row, its name in the cell beside it."""
SPLIT_KEYS = frozenset(
    [
        "split",
        "phase",
        "mode",
        "event",
        "type",
        "stage",
        "subset",
        "set",
        "kind",
        "partition",
        "tag",
        "dataset",
        "prefix",
        "fold",
        "context",
        "collection",
    ]
)
"""Keys and columns whose words say which rows a number is of."""

_FREE = Meaning(Kind.FREE)
_NOTHING = Meaning(Kind.NOTHING)

# Of the same row, a counter that counts over the whole run goes before one that may not.
_STEPS = {
    name: order
    for order, names in enumerate(
        (
            "global_step global_steps global_step/max_steps num_updates current_steps "
            "current_step optimizer_step opt_step total_step trainer/global_step globalstep",
            "step steps",
            "iteration iterations",
            "iter iters it update updates n_iter itr",
            "batch batches minibatch mb batch_idx",
        )
    )
    for name in names.split()
}
_PLANNED = frozenset(
    [
        "max_steps",
        "total_steps",
        "num_iterations",
        "total_iterations",
        "max_iters",
        "num_training_steps",
        "total_optimization_steps",
        "num_train_steps",
        "train_iters",
        "max_updates",
    ]
)
_EPOCHS = frozenset(["num_epochs", "num_train_epochs", "total_epochs", "max_epochs", "n_epochs"])
_TIMES = frozenset(["timestamp", "wall_time", "walltime", "time", "created_at"])
_FIELDS = {
    **dict.fromkeys(["lr", "learning_rate", "current_lr", "lr_0", "lr_group_0"], "lrs/lr"),
    "lrm": "lr_mult",
    **dict.fromkeys(
        [
            "grad_norm",
            "gradnorm",
            "gnorm",
            "norm",
            "gradient_norm",
            "global_grad_norm",
            "total_norm",
            "gradient_norms",
            "grad_global_norm",
        ],
        "grad_norm",
    ),
    **dict.fromkeys(
        [
            "tps",
            "tok_s",
            "tok_sec",
            "tok_per_sec",
            "tok_per_s",
            "tok_per_second",
            "toks_per_sec",
            "tokens_s",
            "tokens_sec",
            "tokens_per_sec",
            "tokens_per_s",
            "tokens_per_second",
            "wps",
            "tgs",
        ],
        "tokens_per_second",
    ),
}
_SECONDS = {
    **dict.fromkeys(
        [
            "dt",
            "step_time",
            "iter_time",
            "iteration_time",
            "time_per_step",
            "time_per_iteration",
            "sec_per_step",
            "seconds_per_step",
            "time_per_iter",
            "batch_time",
            "elapsed_time_per_iteration",
            "dt_s",
        ],
        1.0,
    ),
    **dict.fromkeys(
        [
            "dt_ms",
            "step_ms",
            "iter_ms",
            "ms_per_step",
            "elapsed_time_per_iteration_ms",
            "step_time_ms",
            "iter_time_ms",
            "time_ms",
            "ms_step",
            "ms_iter",
        ],
        1e-3,
    ),
}
_LEFT_OUT = frozenset(
    [
        "percentage",
        "total_tokens",
        "throughput",
        "runtime",
        "progress",
        "remaining_time",
        "elapsed_time",
        "eta",
        "remaining",
    ]
)

_LOSS_WORDS = {
    word: cost
    for cost, words in enumerate(
        (
            "loss",
            "train training trn step",
            "lm sft gpt language model reduced iter batch minibatch value main",
            "ce xent cross entropy crossentropy nll total global per token mean avg average "
            "running current curr smoothed smooth",
            "epoch",
        )
    )
    for word in words.split()
}
_NOT_A_SET = frozenset(
    [
        "nll",
        "ce",
        "kl",
        "aux",
        "z",
        "router",
        "balance",
        "balancing",
        "load",
        "mtp",
        "moe",
        "lm",
        "contrastive",
        "reg",
        "regularization",
        "policy",
        "value",
        "reward",
        "margin",
        "ranking",
        "distill",
        "distillation",
        "mlm",
        "nsp",
    ]
)
"""Words between `eval` and `loss` that name a part of a loss, not a set of rows."""
PARTS_OF_A_LOSS = _NOT_A_SET - _LOSS_WORDS.keys()
"""Words before `loss` that make it another's: `moe loss` stands beside `lm loss`."""
_NO_CURVE = frozenset(
    ["best", "min", "max", "lowest", "highest", "prev", "previous", "target", "final_best", "ema"]
)
_COST = re.compile(
    r".*(?:runtime|samples_per_second|steps_per_second|samples_per_sec|model_preparation_time"
    r"|_seconds|_time|_steps|_samples)"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_GAPS = re.compile(r"[^a-z0-9]+")


def words_of(name: str) -> list[str]:
    """Its words, small: `trainLoss`, `train/loss` and `Train Loss` are the same two."""
    return list(_words_of(name))


@functools.lru_cache(maxsize=4096)
def _words_of(name: str) -> tuple[str, ...]:
    return tuple(word for word in _GAPS.split(_CAMEL.sub(" ", name).lower()) if word)


_HOLDERS = frozenset(["metrics", "metric", "logs", "log", "stats", "scalars", "data", "values"])
"""Objects that numbers lie in, and that say nothing of them: `metrics/train/loss`."""


def _inner(name: str) -> str:
    """A name without the objects around it."""
    outer, slash, rest = name.partition("/")
    return _inner(rest) if slash and rest and outer.lower() in _HOLDERS else name


@functools.lru_cache(maxsize=4096)
def meaning(name: str) -> Meaning:
    """What a name means by the table alone."""
    name = _inner(in_english(name).strip())
    words = words_of(name)
    plain = "_".join(words)
    short = name.lower().strip()
    if short.startswith("trainer/") and plain.endswith("global_step"):
        return Meaning(Kind.STEP, "global_step", 0)
    bare = words[1:] if len(words) > 1 and words[0] in TRAINING_WORDS else words
    stem = "_".join(bare)
    if short in _STEPS or stem in _STEPS:
        key = short if short in _STEPS else stem
        return Meaning(Kind.STEP, stem, _STEPS[key])
    if not words:
        return _FREE
    if words[0] == "global" and words[1:2] == ["step"] and words[2:] == ["max", "steps"]:
        return Meaning(Kind.STEP, "global_step", 0)
    if stem in _PLANNED:
        return Meaning(Kind.PLANNED)
    if stem in _EPOCHS:
        return Meaning(Kind.EPOCHS)
    if stem in ("epoch", "ep"):
        return Meaning(Kind.EPOCH)
    if stem in ("rank", "local_rank", "global_rank", "dp_rank"):
        return Meaning(Kind.RANK, order=0 if stem != "local_rank" else 1)
    if plain in _TIMES:
        return Meaning(Kind.TIME)
    if stem in _LEFT_OUT:
        return _NOTHING
    if (task := task_of(name)) is not None:
        return Meaning(Kind.ACCURACY, task)
    if found := _result(name, words):
        return found
    if _NO_CURVE & set(words):
        return _FREE
    if "loss" in words and all(word in _LOSS_WORDS for word in words):
        return Meaning(Kind.LOSS, plain, sum(_LOSS_WORDS[word] for word in words))
    last = name.lower().rsplit("/", 1)[-1] if "/" in name else ""
    for each in (stem, "_".join(words_of(last)) if last else "", plain):
        if each in _FIELDS:
            return Meaning(Kind.FIELD, _FIELDS[each])
        if each in _SECONDS:
            return Meaning(Kind.FIELD, "seconds" if _SECONDS[each] == 1.0 else "milliseconds")
    return _FREE


_NAMED_SET = re.compile(
    r"(?:epoch_)?(?:val|valid|validation|eval|evaluation|dev|test)[_/ .](.+?)[_/ .]"
    r"(?:loss|acc|accuracy)(?:_epoch)?",
    re.IGNORECASE,
)


def _result(name: str, words: list[str]) -> Meaning | None:
    """A validation loss or an accuracy of an evaluation; None for any other name."""
    if task := task_of(name):
        return Meaning(Kind.ACCURACY, task)
    printed = _NAMED_SET.fullmatch(name.strip())
    at = next((i for i, word in enumerate(words) if word in VALIDATION_WORDS), None)
    if at is None or _NO_CURVE & set(words):
        return None
    if not set(words[:at]) <= _LOSS_WORDS.keys() and "/" not in name:
        return None  # `Initial eval_acc` is `eval_acc` behind a word of the line
    rest = words[:at] + words[at + 1 :]
    plain = "_".join(words)
    if "loss" in rest or "bpb" in rest or _is_cross_entropy(rest):
        metric = "bpb" if "bpb" in rest else "loss"
        middle = [word for word in rest if word not in (metric, *_LOSS_WORDS)]
        parts = [word for word in rest if word in _LOSS_WORDS and word in _NOT_A_SET]
        if parts and "lm" not in parts:
            return _FREE
        if _NOT_A_SET & set(middle):
            return _FREE
        named = printed[1] if printed and middle else "_".join(middle)
        named = named or ("test" if words[at] in ("test", "testing") else "")
        return Meaning(Kind.VALIDATION, named, len(rest), metric)
    if (rest and rest[-1] in ("acc", "accuracy")) or (
        rest[-2:-1] and rest[-2] in ("acc", "accuracy")
    ):
        task = "_".join(w for w in rest if w not in ("acc", "accuracy", "epoch"))
        return Meaning(Kind.ACCURACY, (printed[1] if printed and task else task) or "eval")
    return _NOTHING if words[0] in VALIDATION_WORDS and _COST.fullmatch(plain) else None


def _is_cross_entropy(words: list[str]) -> bool:
    """Whether a name ends in the loss of a language model: `eval/LanguageCrossEntropy`."""
    return words[-1:] == ["crossentropy"] or words[-2:] == ["cross", "entropy"]


_MAPPED = {
    "step": Meaning(Kind.STEP, "step", -1),
    "epoch": Meaning(Kind.EPOCH),
    "planned": Meaning(Kind.PLANNED),
    "epochs": Meaning(Kind.EPOCHS),
    "rank": Meaning(Kind.RANK),
    "time": Meaning(Kind.TIME),
    "train.loss": Meaning(Kind.LOSS, "loss", -1),
    "val.loss": Meaning(Kind.VALIDATION, "", -1),
    "val.accuracy": Meaning(Kind.ACCURACY, "eval"),
    "lr": Meaning(Kind.FIELD, "lrs/lr"),
    "grad_norm": Meaning(Kind.FIELD, "grad_norm"),
    "tokens_per_second": Meaning(Kind.FIELD, "tokens_per_second"),
    "seconds": Meaning(Kind.FIELD, "seconds"),
    "nothing": _NOTHING,
}


@functools.lru_cache(maxsize=4096)
def may_mean(name: str) -> bool:
    """Whether the table may know a name: False for most words of a text, at a fiftieth of the cost.

    A name that means something begins with a word of the table, unless a `/` parts it: what stands
    behind it may be a set's own name (`val codes loss`), what stands before it may not.
    """
    first = name.split(None, 1)[:1]
    return not name.isascii() or "/" in name or not first or _may_begin(first[0])


@functools.lru_cache(maxsize=1 << 14)
def _may_begin(word: str) -> bool:
    words = words_of(word)
    return not words or words[0] in _known_words() or is_of_a_task(word)


@functools.lru_cache(maxsize=1)
def _known_words() -> frozenset[str]:
    """Every word of the tables."""
    tables = (_STEPS, _PLANNED, _EPOCHS, _TIMES, _FIELDS, _SECONDS, _LEFT_OUT, _LOSS_WORDS)
    named = {word for table in tables for name in table for word in words_of(name)}
    others = ["ep", "epoch", "rank", "local", "global", "dp"]
    return frozenset({*named, *others, *VALIDATION_WORDS, *TRAINING_WORDS})


class Names:
    """The table with what a person said before it; one for each reader."""

    def __init__(self, mapped: Mapping[str, str] | None = None) -> None:
        """`mapped`: printed name by what it means, as `parse_map` gives it.

        Raises:
            UsageError: a meaning is not one of those there are.
        """
        self._own: dict[str, Meaning] = {}
        self._others: set[Kind] = set()
        for what, name in (mapped or {}).items():
            if what not in _MAPPED:
                known = ", ".join(_MAPPED)
                raise UsageError(f"--map {what}={name}: {what!r} is not one of {known}.")
            self._own["_".join(words_of(name))] = _MAPPED[what]
            if _MAPPED[what].kind in (Kind.LOSS, Kind.STEP):
                self._others.add(_MAPPED[what].kind)

    def __bool__(self) -> bool:
        return bool(self._own)

    def of(self, name: str) -> Meaning:
        """What a printed name means."""
        if not self._own:
            return meaning(name) if may_mean(name) else _FREE
        if own := self._own.get("_".join(words_of(name))):
            return own
        found = meaning(name)
        # Who says which number is the loss says of every other name that it is not.
        return _FREE if found.kind in self._others else found


def parse_map(text: str) -> dict[str, str]:
    """Of `step=global_step,train.loss=closs`, the printed name by what it means.

    Raises:
        UsageError: a part is no `meaning=name`, or its meaning is not known.
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        what, equals, name = part.partition("=")
        if not equals or not name.strip():
            raise UsageError(
                f"--map {part!r} is no MEANING=NAME; for example --map train.loss=closs."
            )
        found[what.strip()] = name.strip()
    Names(found)
    return found


def is_split_key(words: Sequence[str]) -> bool:
    """Whether a key of these words is of `SPLIT_KEYS`; `metric.context` and `runContext` are."""
    return words[-1:] == ["context"] or (len(words) == 1 and words[0] in SPLIT_KEYS)


@functools.lru_cache(maxsize=256)
def word_split(word: str) -> str:
    """`train`, `val` or `test` for a word that marks a split or phase; empty for any other."""
    small = word.lower()
    if small in ("test", "testing"):
        return "test"
    if small in VALIDATION_WORDS:
        return "val"
    return "train" if small in TRAINING_WORDS else ""


def split_of(text: str) -> str:
    """The split that a value of `split`, `phase`, `event` or a label names; empty for none."""
    for word in words_of(text):
        if split := word_split(word):
            return split
    return ""
