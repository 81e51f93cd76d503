"""Results of numpy's: what an archive claims is asked before anything of it is made."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.files import npz


@given(
    names=st.lists(st.text("abc/é", min_size=1, max_size=9), max_size=6, unique=True),
    comment=st.binary(max_size=40) | st.just(b"PK\5\6" + bytes(18)),
    before=st.binary(max_size=9),
    after=st.binary(max_size=9),
    large=st.booleans(),
)
def test_the_list_of_an_archive_is_as_long_as_zipfile_takes_it_to_be(
    names: list[str], comment: bytes, before: bytes, after: bytes, *, large: bool
) -> None:
    """Never shorter: an archive that lies to the one lies to the other."""
    file = io.BytesIO()
    file.write(before)
    with pytest.MonkeyPatch.context() as patch:
        if large:  # the form for more entries than two bytes count
            patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 0)
        with zipfile.ZipFile(file, "a") as archive:
            for name in names:
                archive.writestr(name, b"x")
            archive.comment = comment
    file.seek(0, io.SEEK_END)
    file.write(after)
    found = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    claimed = npz._directory_bytes(file)
    assert file.tell() == 0
    if found is not None:
        assert claimed >= found[5]
        if not comment and not after:
            assert claimed == found[5]


def test_an_archive_of_sixty_thousand_arrays_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at it took half a second, and a report takes dozens."""
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros(3))
    with zipfile.ZipFile(path, "a") as archive:
        entry = archive.infolist()[0]
        archive.filelist.extend([entry] * 60_000)
        archive._didModify = True  # type: ignore[attr-defined]
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(ValueError, match="too many arrays"), npz.opened(path):
        pass


def test_results_of_every_kind_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    names = [f"a_rather_long_name_of_an_array_{place}" for place in range(npz.MOST_MEMBERS)]
    np.savez_compressed(path, **{name: np.arange(3) for name in names})  # type: ignore[arg-type]
    with npz.opened(path) as found:
        assert sorted(found.files) == sorted(names)
