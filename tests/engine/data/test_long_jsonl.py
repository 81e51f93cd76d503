"""Files that are too long for memory: the same rows, read from disk, in bounded memory."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.conversations.conversation import RowFault
from engine.data import long_jsonl
from engine.data.dataset import JsonlRows
from engine.data.entries import DataEntry, DataSettings
from engine.data.long_jsonl import LongJsonl, ReadItems
from engine.data.mixture import Mixture
from engine.data.row_files import open_path
from engine.data.tasks import build_mixture, load_validation
from engine.errors import DataError
from tests.conftest import examples

GOOD = {"messages": [{"role": "user", "content": "one?"}, {"role": "assistant", "content": "1"}]}
lines = st.lists(
    st.one_of(
        st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=30).map(
            lambda text: json.dumps({"text": text}, ensure_ascii=False)
        ),
        st.sampled_from(["", "  ", "\r", "{", '{"a": 1}\r', "[1, 2]"]),
    ),
    max_size=12,
)


@pytest.fixture
def short_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_jsonl, "LONG", 1)


def read(rows: JsonlRows | LongJsonl, index: int) -> object:
    try:
        return rows.read(index)
    except RowFault as fault:
        return str(fault)


@examples(60)
@given(found=lines, end=st.sampled_from(["", "\n", "\n\n"]), mark=st.booleans())
def test_rows_on_disk_are_those_of_the_file_in_memory(
    found: list[str], end: str, mark: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Blank lines, marks, broken lines and separators of other programs included."""
    path = tmp_path_factory.mktemp("long") / "a.jsonl"
    whole = "\n".join(['{"first": 1}', '{"second": 2}', *found]) + end
    path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + whole.encode())
    kept, ours = JsonlRows(path), LongJsonl(path)
    assert len(ours) == len(kept)
    for index in range(len(kept)):
        assert read(ours, index) == read(kept, index)
        assert ours.where(index) == kept.where(index)


def mixture(path: Path, **more: bool) -> tuple[Mixture, Mixture]:
    settings = DataSettings(
        mixture=(DataEntry(name="a", file=path),),
        validation=None,
        **more,  # type: ignore[arg-type]
    )
    return build_mixture(settings), load_validation(settings, None)


def rows_of(path: Path) -> Path:
    talk = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "a"}]}
        for n in range(50)
    ]
    path.write_text("".join(json.dumps(each) + "\n" for each in talk))
    return path


def test_a_long_file_gives_the_order_and_the_rows_of_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training and held-out rows, with and without bad ones; also when it goes to a process."""
    path = rows_of(tmp_path / "a.jsonl")
    for skip in (False, True):
        if skip:
            path.write_text('{"messages": 3}\n' + path.read_text())
        monkeypatch.undo()
        wanted = mixture(path, skip_bad_rows=skip)
        monkeypatch.setattr(long_jsonl, "LONG", 1)
        found = mixture(path, skip_bad_rows=skip)
        for ours, theirs in zip(found, wanted, strict=True):
            assert isinstance(ours.tasks[0].items, ReadItems)
            assert ours.skipped() == theirs.skipped()
            sent = pickle.loads(pickle.dumps(ours))
            for index in range(len(theirs)):
                assert ours.row(index) == theirs.row(index)
                assert sent.conversation(index) == theirs.conversation(index)
                assert ours.where(index) == theirs.where(index)


@pytest.mark.usefixtures("short_is_long")
def test_a_bad_row_of_a_long_file_is_named_by_its_line(tmp_path: Path) -> None:
    path = rows_of(tmp_path / "a.jsonl")
    path.write_text(path.read_text() + '\n{"messages": 3}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:52: .*--skip-bad-rows"):
        mixture(path)


@pytest.mark.usefixtures("short_is_long")
def test_a_long_file_that_is_written_to_meanwhile_is_refused(tmp_path: Path) -> None:
    """And one that another takes the name of is read on."""
    path = rows_of(tmp_path / "a.jsonl")
    training, _ = mixture(path)
    first = training.conversation(0)
    (tmp_path / "b").write_text(json.dumps(GOOD) + "\n")
    path.rename(tmp_path / "old")
    (tmp_path / "b").rename(path)
    assert training.conversation(0) == first
    with (tmp_path / "old").open("a") as file:
        file.write(json.dumps(GOOD) + "\n")
    with pytest.raises(DataError, match="written to while its rows were in use"):
        training.conversation(0)


@pytest.mark.usefixtures("short_is_long")
def test_a_long_file_of_another_kind_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([GOOD, GOOD], indent=1))
    assert isinstance(open_path(path), JsonlRows)
    path.write_bytes(f"{json.dumps(GOOD)}\n".encode("utf-16") * 2)
    assert isinstance(open_path(path), JsonlRows)


@pytest.mark.usefixtures("short_is_long")
def test_a_folder_of_files_and_a_set_of_datasets_stay_on_disk_together(tmp_path: Path) -> None:
    import datasets

    kept = [json.loads(line) for line in rows_of(tmp_path / "a.jsonl").read_text().splitlines()]
    files = tmp_path / "files"
    files.mkdir()
    for name in ("one", "two"):
        rows_of(files / f"{name}.jsonl")
    datasets.Dataset.from_list(kept).save_to_disk(str(tmp_path / "saved"))
    for path, count in ((files, 100), (tmp_path / "saved", 50)):
        training, held_out = mixture(path)
        items = training.tasks[0].items
        assert isinstance(items, ReadItems)
        asked = {row.messages[0].content for row in [*items, *held_out.tasks[0].items]}
        assert asked == {f"{n}?" for n in range(50)}
        assert len(items) + len(held_out.tasks[0].items) == count


OF_A_MIXTURE = """
import sys
from pathlib import Path
from tests.memory import peak_bytes
from engine.data import long_jsonl
from engine.data.entries import DataEntry, DataSettings
from engine.data.tasks import build_mixture
long_jsonl.LONG = int(sys.argv[2])
settings = DataSettings(mixture=(DataEntry(name="a", file=Path(sys.argv[1])),), validation=None)
before = peak_bytes()
found = build_mixture(settings)
assert sum(len(found.conversation(i).messages) for i in range(0, len(found), 97))
print(peak_bytes() - before)
"""


def written(path: Path, rows: int, words: int) -> int:
    """A file of so many conversations with so many words each; its bytes."""
    text = "word " * words
    with path.open("w") as file:
        for n in range(rows):
            talk = [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": text}]
            file.write(json.dumps({"messages": talk}) + "\n")
    return path.stat().st_size


def taken(path: Path, limit: int) -> int:
    """Bytes that a mixture of the file takes, where files from `limit` on stay on disk."""
    done = subprocess.run(
        [sys.executable, "-c", OF_A_MIXTURE, str(path), str(limit)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    return int(done.stdout)


def test_memory_does_not_grow_with_the_length_of_rows(tmp_path: Path) -> None:
    """24 MB of rows of 24 KB in less than a sixth of that; in memory they take all of it."""
    path = tmp_path / "a.jsonl"
    size = written(path, 1000, 4900)
    assert taken(path, 1) < size / 6
    assert taken(path, 2**40) > size


@pytest.mark.torture
@pytest.mark.timeout(1200)
def test_half_a_gigabyte_of_ordinary_rows_takes_a_sixth_of_it(tmp_path: Path) -> None:
    """260,000 rows of 2 KB, with the limit that runs have."""
    path = tmp_path / "a.jsonl"
    size = written(path, 260_000, 400)
    assert size > 2 * long_jsonl.LONG * 0.95
    found = taken(path, long_jsonl.LONG)
    print(f"{size / 2**20:,.0f} MiB of rows take {found / 2**20:,.0f} MiB")
    assert found < size / 6
