"""Python code in a model's folder runs for whoever typed the flag for that folder, and no other."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from engine.errors import CheckpointError
from engine.model import family
from engine.model.hf import hf_config, trusted
from tests import hf_material

MARK = "ran"


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the manifest of a stranger's run says of a model with code in its folder."""
    monkeypatch.setenv("SFTUI_CONFIG", str(tmp_path / "config.json"))
    monkeypatch.setenv(trusted.VARIABLE, "")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = hf_material.folder(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / MARK)!r}, 'w')\n")
    return hf_config.read_folder(folder, remote_code=True).to_dict()


def test_a_manifest_alone_lets_no_code_of_a_folder_run(
    described: dict[str, Any], tmp_path: Path
) -> None:
    """`run --resume`, `chat` and `eval` of a stranger's run ran it, since its manifest said so."""
    assert described["remote_code"]
    shape = family.shape_from(described)
    assert not shape.to_dict()["remote_code"]
    with pytest.raises(CheckpointError, match=trusted.VARIABLE):
        family.of(shape).start_state(shape)
    with pytest.raises((CheckpointError, ValueError)):
        family.of(shape).build(shape, {})
    assert not (tmp_path / MARK).exists()


def test_the_folder_that_was_typed_is_trusted_by_later_commands_too(
    described: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trusted.trust(Path(described["folder"]))
    # A later command has the list, the processes of this one the environment.
    assert stat.S_IMODE(trusted.list_path().stat().st_mode) == 0o600
    for way in ("both", "list", "environment"):
        if way == "list":
            monkeypatch.setenv(trusted.VARIABLE, "")
        if way == "environment":
            monkeypatch.setenv(trusted.VARIABLE, described["folder"])
            trusted.list_path().unlink()
        assert family.shape_from(described).to_dict()["remote_code"], way
    elsewhere = described | {"folder": str(tmp_path / "other")}
    assert not family.shape_from(elsewhere).to_dict()["remote_code"]


@pytest.mark.parametrize("content", ["", "[", "{}", "5", '[["x"], null]', "\udc80"])
def test_a_list_of_anything_trusts_nobody(described: dict[str, Any], content: str) -> None:
    trusted.list_path().write_bytes(content.encode("utf-8", "surrogateescape"))
    assert not family.shape_from(described).to_dict()["remote_code"]
