"""The known tasks on the Hugging Face hub, through `datasets`.

A data set that was loaded once is taken from the cache without asking the
network. One that was not, with no network, is refused within seconds: left to
itself the library retries for half a minute a data set before it gives up.
"""

from __future__ import annotations

import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.conversations.conversation import RowFault
from engine.errors import DataError

DEFAULT_ENDPOINT = "https://huggingface.co"

REACH_SECONDS = 5.0
"""A slow line answers a HEAD request in well under this; a dead one costs it once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSet:
    id: str
    subset: str
    sizes: dict[str, int]
    """Published rows by split, to plan with before anything is downloaded."""


HUB = {
    "ARC-Easy": HubSet(
        id="allenai/ai2_arc", subset="ARC-Easy", sizes={"train": 2251, "test": 2376}
    ),
    "ARC-Challenge": HubSet(
        id="allenai/ai2_arc", subset="ARC-Challenge", sizes={"train": 1119, "test": 1172}
    ),
    "GSM8K": HubSet(id="openai/gsm8k", subset="main", sizes={"train": 7473, "test": 1319}),
    "HumanEval": HubSet(
        id="openai/openai_humaneval", subset="openai_humaneval", sizes={"test": 164}
    ),
    "SmolTalk": HubSet(
        id="HuggingFaceTB/smol-smoltalk",
        subset="default",
        sizes={"train": 460_341, "test": 24_229},
    ),
    "MMLU": HubSet(id="cais/mmlu", subset="all", sizes={"test": 14_042, "auxiliary_train": 99_842}),
}


class HubRows:
    """One split of a hub data set. With `download=False` only its published size is known."""

    def __init__(self, task: str, split: str, *, download: bool) -> None:
        self._set = HUB[task]
        self._split = split
        if split not in self._set.sizes:
            raise DataError(
                f"{self._set.id} has no split {split} that is used here; expected one of "
                f"{', '.join(self._set.sizes)}."
            )
        self._data: Any = _load(self._set, split) if download else None
        self._cache: dict[int, object] = {}

    @property
    def name(self) -> str:
        return f"{self._set.id} ({self._set.subset}, {self._split})"

    def __len__(self) -> int:
        return self._set.sizes[self._split] if self._data is None else len(self._data)

    def read(self, index: int) -> object:
        if index not in self._cache:
            self.prefetch([index])
        return self._cache[index]

    def prefetch(self, indices: Sequence[int]) -> None:
        if self._data is None:
            raise RowFault("the data set was only looked for, not loaded")
        rows = self._data.select(list(indices)).to_list()
        self._cache = dict(zip(indices, rows, strict=True))

    def where(self, index: int) -> str:
        return f"{self.name}, row {index + 1}"


def require_hub(tasks: Sequence[str]) -> None:
    """Every one of these tasks is cached, or the hub answers.

    Raises:
        DataError: naming the data sets, `--data-dir` and `HF_ENDPOINT`.
    """
    missing = [HUB[task] for task in tasks if not is_cached(HUB[task])]
    if missing and not hub_answers():
        raise not_there(list(dict.fromkeys(found.id for found in missing)))


def is_cached(wanted: HubSet) -> bool:
    """A prepared copy lies in the cache of `datasets` (looked up without importing it)."""
    return any((cache_folder(wanted.id) / wanted.subset).glob("*/*/dataset_info.json"))


def cache_folder(set_id: str) -> Path:
    """Where `datasets` keeps its prepared copies of a data set."""
    return _cache_dir() / set_id.replace("/", "___")


def hub_answers() -> bool:
    """Whether the hub (or the mirror in HF_ENDPOINT) answers at all, within seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    request = urllib.request.Request(_endpoint(), method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=REACH_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True  # it answered, if only with an error page
    except (OSError, ValueError):
        return False


def _load(wanted: HubSet, split: str) -> Any:
    # datasets: 1 s and 80 MB that a run on files of its own need not pay.
    import datasets  # noqa: PLC0415

    datasets.disable_progress_bars()
    cached = is_cached(wanted)
    try:
        with offline() if cached else contextlib.nullcontext():
            return datasets.load_dataset(wanted.id, wanted.subset, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        if cached or not hub_answers():
            raise not_there([wanted.id]) from error
        raise could_not_load(f"{wanted.id} ({wanted.subset}, {split})", error) from error


def could_not_load(what: str, error: Exception) -> DataError:
    """A hub that answers, and a data set that it does not give."""
    return DataError(
        f"{what} could not be loaded from {_endpoint()}: {_one_line(error)}. Try again, set "
        "HF_ENDPOINT to a mirror, or pass --data-dir with the files."
    )


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """No network while a cached data set is opened: the library asks for updates otherwise."""
    # Imported already by `datasets`.
    import datasets  # noqa: PLC0415
    import huggingface_hub  # noqa: PLC0415

    before = datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE = before


def not_there(ids: Sequence[str]) -> DataError:
    """Data sets that are neither in the cache nor to be had from a hub that is silent."""
    one = len(ids) == 1
    return DataError(
        f"The data set{'' if one else 's'} {', '.join(ids)} {'is' if one else 'are'} not in the "
        f"cache, and {_endpoint()} does not answer. Pass --data-dir FOLDER with the files, set "
        "HF_ENDPOINT to a mirror, or connect to the network."
    )


def _cache_dir() -> Path:
    """Where `datasets` keeps its prepared copies, by its own rules."""
    if found := os.environ.get("HF_DATASETS_CACHE"):
        return Path(found).expanduser()
    if found := os.environ.get("HF_HOME"):
        return Path(found).expanduser() / "datasets"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface" / "datasets"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT


def _one_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
