"""Every format there is, with its reader. Imported when the two of `open` do not know a file."""

from __future__ import annotations

from collections.abc import Sequence

from sftui.readers import Reader
from sftui.readers.csv_metrics import CsvReader
from sftui.readers.hf_trainer import HfTrainerReader
from sftui.readers.journal import JournalReader
from sftui.readers.json_lines import JsonLinesReader
from sftui.readers.llmc import LlmcReader
from sftui.readers.minimind import MiniMindReader
from sftui.readers.mlx import MlxReader
from sftui.readers.nanochat import NanochatReader
from sftui.readers.plain_text import PlainTextReader
from sftui.readers.torchtitan import TorchTitanReader
from sftui.readers.trainer_state import TrainerStateReader
from sftui.sources.binary_formats import SIGNED

READERS: Sequence[type[Reader]] = (
    JournalReader,
    NanochatReader,
    HfTrainerReader,
    TrainerStateReader,
    JsonLinesReader,
    LlmcReader,
    CsvReader,
    MiniMindReader,
    MlxReader,
    TorchTitanReader,
    *SIGNED,
    PlainTextReader,
)
"""Every format there is. The surest of them reads the file."""

BY_NAMES = (JsonLinesReader, CsvReader, PlainTextReader)
"""Those that a person can tell what the names in a log mean."""
