"""What a run leaves for nanochat: a finished result where it looks, half a run never."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.checkpoints import nanochat_io, nanochat_paths
from engine.errors import CheckpointError
from engine.events import CheckpointSaved, LogLine
from tests.engine.small import tiny_model
from tests.faults.place import Place, end_of, told, work


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_finished_run_is_what_nanochat_finds(place: Place) -> None:
    run = place.make()
    work(run)
    found = nanochat_paths.find_checkpoint("sft", base=place.cache)
    assert (found.step, found.model_tag) == (12, "d1")
    [export] = [e for e in told(run, CheckpointSaved) if e.kind == "nanochat"]
    assert export.path == str(found.model_path)


def test_a_stopped_run_is_never_what_nanochat_finds(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its step may be the largest of the cache; the result lies in the run directory."""
    monkeypatch.setattr("engine.trainer.apply_requests", _stop_at(5))
    older = place.cache / "chatsft_checkpoints" / "d1"
    older.mkdir(parents=True)
    for name in ("model_000003.pt", "meta_000003.json"):
        source = next((place.cache / "mid_checkpoints" / "d1").glob(name[:5] + "*"))
        (older / name).write_bytes(source.read_bytes())
    run = place.make()
    work(run)
    assert end_of(run).status == "stopped"
    assert nanochat_paths.find_checkpoint("sft", base=place.cache).step == 3
    [export] = [e for e in told(run, CheckpointSaved) if e.kind == "nanochat"]
    assert (run.path / export.path).is_relative_to(run.export)
    assert nanochat_paths.find_checkpoint("sft", base=run.export).step == 5


@pytest.mark.parametrize("iterations", [1, 13])
def test_a_run_without_an_update_exports_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, iterations: int
) -> None:
    """Stopped before the first update, or planned without one: the model is the old one."""
    monkeypatch.setattr("engine.trainer.apply_requests", _stop_at(0 if iterations > 1 else None))
    run = place.make(f"--num-iterations={iterations}")
    work(run)
    assert not [e for e in told(run, CheckpointSaved) if e.kind == "nanochat"]
    assert not (place.cache / "chatsft_checkpoints").exists()
    assert any("no update was made" in e.text for e in told(run, LogLine))


def _stop_at(step: int | None) -> Callable[..., object]:
    from engine.steering.steering import Decision

    def obey(_session: object, _steering: object, at: int) -> Decision:
        stop = step is not None and at >= step
        return Decision(stop=stop, stop_reason="test" if stop else "")

    return obey


def test_an_export_cut_short_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nanochat looks for model files: one without its meta file would break its next start."""
    folder = nanochat_paths.export_folder("d1", tmp_path)
    model = tiny_model()
    write = nanochat_io._write
    for failing in ("model", "meta"):

        def cut_short(path: Path, how: Callable[[Path], object], failing: str = failing) -> None:
            if path.name.startswith(failing):
                raise OSError(28, "No space left on device")
            write(path, how)

        monkeypatch.setattr(nanochat_io, "_write", cut_short)
        with pytest.raises(CheckpointError, match="could not be written"):
            nanochat_io.export(folder, 9, model.config, model.state_dict(), {})
        assert list(folder.glob("model_*")) == []
