"""Where an export may be written."""

import pytest

from sftui.cli import main
from sftui.commands.export import hub_cache


@pytest.mark.parametrize("place", ["", "models--me--mine/snapshots/1234", "new"])
def test_the_hub_cache_is_not_written_into(tmp_path, monkeypatch, capsys, place):
    """It holds downloads: refused in one line before anything is looked for or made."""
    cache = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    output = cache / place
    assert main(["export", "starter", "--format", "hf", "-o", str(output)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"sftui: error: {output} is in the cache of the Hugging Face hub")
    assert said.count("\n") == 1
    assert not cache.exists()


def test_a_link_into_the_hub_cache_is_one(tmp_path, monkeypatch, capsys):
    """What counts is where the files would lie."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    (tmp_path / "link").symlink_to(cache)
    assert main(["export", "starter", "-o", str(tmp_path / "link" / "mine")]) == 2
    assert "-o" in capsys.readouterr().err


def test_the_cache_is_where_the_hub_keeps_it(monkeypatch):
    """By the same variables, in the same order."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert str(hub_cache()) == "/home/me/.cache/huggingface/hub"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert str(hub_cache()) == "/x/huggingface/hub"
    monkeypatch.setenv("HF_HOME", "/data/hf")
    assert str(hub_cache()) == "/data/hf/hub"
    monkeypatch.setenv("HF_HUB_CACHE", "/scratch/hub")
    assert str(hub_cache()) == "/scratch/hub"
