"""Any data set of the hub or of ModelScope, by its id: `OWNER/NAME[/CONFIG][SPLIT]`.

`HF_ENDPOINT` names a mirror, as everywhere. Unlike the known tasks (`hub`) the size of such a
set is not published here, so the launcher loads it before it can plan; from then on it is in
the cache, and ranks ask no network.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import Any

from engine.data.hub import cache_folder, could_not_load, hub_answers, not_there, offline
from engine.data.row_files import SetRows, split_of
from engine.errors import ConfigError, DataError

HUB_MARK, SCOPE_MARK = "hf:", "ms:"
"""Before an id: of the Hugging Face hub, of ModelScope."""

_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:/([\w.+-]+))?(?:\[([\w.%:+-]+)\])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubId:
    """One data set, as it was typed."""

    id: str
    config: str | None = None
    split: str | None = None
    """None: the one whose name says training, or test."""
    scope: bool = False
    """Of ModelScope."""

    @classmethod
    def read(cls, text: str) -> HubId:
        """Of `[hf:|ms:]OWNER/NAME[/CONFIG][SPLIT]`, the split in brackets.

        Raises:
            ConfigError: it is no such name.
        """
        bare = text.removeprefix(HUB_MARK).removeprefix(SCOPE_MARK)
        found = _ID.fullmatch(bare)
        if found is None:
            raise ConfigError(
                f"{text} is no id of a data set; expected OWNER/NAME, with /CONFIG and [SPLIT] "
                "where there are several, e.g. openai/gsm8k/main[train]."
            )
        return cls(id=found[1], config=found[2], split=found[3], scope=text.startswith(SCOPE_MARK))

    @property
    def text(self) -> str:
        """As `read` takes it, wherever it is typed."""
        mark = SCOPE_MARK if self.scope else HUB_MARK
        config = f"/{self.config}" if self.config else ""
        return f"{mark}{self.id}{config}" + (f"[{self.split}]" if self.split else "")

    @property
    def name(self) -> str:
        """Of its rows on the screen."""
        return self.id.partition("/")[2]


def is_id(text: str) -> bool:
    """Whether a name without a mark looks like an id; whoever asks has looked for a file first."""
    return text.startswith((HUB_MARK, SCOPE_MARK)) or _ID.fullmatch(text) is not None


def open_set(wanted: HubId, split: str) -> SetRows:
    """Its rows: of the split that was typed, else of the one that `split` (train, test) means.

    Raises:
        DataError: it is neither in the cache nor reachable, or has no such split or config.
    """
    if wanted.scope:
        return _from_scope(wanted, split)
    # datasets: 1 s and 80 MB that a run on files of its own need not pay.
    import datasets  # noqa: PLC0415

    datasets.disable_progress_bars()
    cached = any(cache_folder(wanted.id).glob("*/*/*/dataset_info.json"))
    if not cached and not hub_answers():
        raise not_there([wanted.id])
    try:
        with offline() if cached and not hub_answers() else contextlib.nullcontext():
            names = datasets.get_dataset_split_names(wanted.id, wanted.config)
            chosen = wanted.split or split_of(names, split, wanted.text)
            data = datasets.load_dataset(wanted.id, wanted.config, split=chosen)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise could_not_load(_words(wanted), error) from error
    return SetRows(data, f"{_words(wanted)} ({chosen})")


def _words(wanted: HubId) -> str:
    return f"{wanted.id}{f' ({wanted.config})' if wanted.config else ''}"


def _from_scope(wanted: HubId, split: str) -> SetRows:
    """A data set of ModelScope, through its own library, which gives one of `datasets`."""
    try:
        from modelscope.msdatasets import MsDataset  # noqa: PLC0415  only who asks for it has it
    except ImportError:
        raise DataError(
            f"{wanted.text} is a data set of ModelScope, which needs its library. Type: "
            "pip install modelscope"
        ) from None
    chosen = wanted.split or split
    options = {"subset_name": wanted.config} if wanted.config else {}
    try:
        found: Any = MsDataset.load(wanted.id, split=chosen, **options)
        data = found.to_hf_dataset() if hasattr(found, "to_hf_dataset") else found
        rows = SetRows(data, f"ModelScope {_words(wanted)} ({chosen})")
        _ = len(rows)
    except Exception as error:  # whatever that library raises
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise DataError(f"{wanted.text} ({chosen}) could not be loaded: {reason}.") from None
    return rows
