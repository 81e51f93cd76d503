"""The hub, its cache, and what happens without a network; against a mirror of our own."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import threading
import time
import types
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from engine.config import DataConfig, RunConfig
from engine.conversations.conversation import RowFault
from engine.data import hub
from engine.data.data_check import check_data
from engine.data.hub import HUB, HubRows, hub_answers, is_cached, require_hub
from engine.data.hub_sets import HubId, open_set
from engine.data.mixture import seed_order
from engine.data.tasks import DataEntry, DataSettings, build_mixture
from engine.errors import DataError
from engine.step import run_plan

COMMIT = "a" * 40
REPO = "openai/gsm8k"
CARD = b"""---
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
---
"""


def parquet(rows: int) -> bytes:
    made = [{"question": f"q{i}", "answer": f"<<{i}+0={i}>>{i}"} for i in range(rows)]
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(made), buffer)
    return buffer.getvalue()


FILES = {
    "README.md": CARD,
    "main/train-00000-of-00001.parquet": parquet(20),
    "main/test-00000-of-00001.parquet": parquet(7),
}


class Mirror(BaseHTTPRequestHandler):
    """Just enough of a hub for one data set."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urllib.parse.unquote(self.path.partition("?")[0])
        for revision in ("main", COMMIT):
            name = path.removeprefix(f"/datasets/{REPO}/resolve/{revision}/")
            if name in FILES:
                tag = f'"{hashlib.sha1(FILES[name]).hexdigest()}"'
                return self.reply(FILES[name], {"ETag": tag, "X-Repo-Commit": COMMIT})
        info, tree = f"/api/datasets/{REPO}", f"/api/datasets/{REPO}/tree/{COMMIT}"
        if path in (info, f"{info}/revision/main", f"{info}/revision/{COMMIT}"):
            siblings = [{"rfilename": name} for name in FILES]
            return self.json({"id": REPO, "sha": COMMIT, "siblings": siblings, "tags": []})
        if path == tree:
            folder = {"type": "directory", "path": "main", "oid": "b" * 40}
            return self.json([self.entry("README.md"), folder])
        if path == f"{tree}/main":
            return self.json([self.entry(name) for name in FILES if name.startswith("main/")])
        return self.reply(b"", {"X-Error-Code": "EntryNotFound"}, code=404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.reply(b"", {}, code=404)

    def entry(self, name: str) -> dict[str, object]:
        digest = hashlib.sha1(FILES[name]).hexdigest()
        return {"type": "file", "path": name, "size": len(FILES[name]), "oid": digest}

    def json(self, content: object) -> None:
        self.reply(json.dumps(content).encode(), {"Content-Type": "application/json"})

    def reply(self, content: bytes, headers: dict[str, str], *, code: int = 200) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """No network and an empty cache; the address refuses every connection at once."""
    import datasets
    import huggingface_hub

    closed = "http://127.0.0.1:9"
    point_at(closed, monkeypatch)
    for name in ("HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return closed


def point_at(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT does when it is set before the libraries are imported."""
    import datasets
    import huggingface_hub

    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def mirror(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    point_at(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


GSM8K = DataSettings(
    mixture=(DataEntry(name="GSM8K", size=5),),
    validation=DataEntry(name="GSM8K", split="test"),
    questions=(),
)


def test_without_network_and_cache_one_sentence_comes_at_once(endpoint: str) -> None:
    """It names the data sets, `--data-dir` and the mirror variable; nothing is retried for long."""
    before = time.monotonic()
    with pytest.raises(DataError) as caught:
        check_data(DataSettings())

    text = str(caught.value)
    for words in ("allenai/ai2_arc", "openai/gsm8k", "HuggingFaceTB/smol-smoltalk", "cais/mmlu"):
        assert text.count(words) == 1
    assert "--data-dir" in text
    assert "HF_ENDPOINT" in text
    assert endpoint in text
    # The library alone takes 24 s for each data set.
    assert time.monotonic() - before < hub.REACH_SECONDS + 2


def test_offline_by_choice_does_not_even_ask(
    mirror: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HF_HUB_OFFLINE=1 counts as no network."""
    assert hub_answers()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not hub_answers()
    with pytest.raises(DataError, match="does not answer"):
        require_hub(["GSM8K"])


def test_a_check_downloads_nothing(mirror: ThreadingHTTPServer, tmp_path: Path) -> None:
    """The launcher plans with the published sizes and leaves the download to the run."""
    found = check_data(GSM8K)

    assert (found.train, found.validation_rows) == ({"GSM8K": 5}, 400)
    assert found.from_hub == ("GSM8K",)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RowFault, match="only looked for"):
        HubRows("GSM8K", "train", download=False).read(0)


def test_rows_come_from_the_mirror_and_then_from_the_cache(
    mirror: ThreadingHTTPServer, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first load asks the mirror; afterwards no network is needed or asked."""
    first = build_mixture(GSM8K)
    assert [first.tasks[0].conversation(i).messages[0].content for i in range(5)] == [
        f"q{place}" for place in seed_order(20)[:5]
    ]

    assert is_cached(HUB["GSM8K"])
    point_at(endpoint, monkeypatch)
    again = build_mixture(GSM8K)
    assert [again.row(i) for i in range(5)] == [first.row(i) for i in range(5)]
    rows = HubRows("GSM8K", "test", download=True)
    assert (len(rows), rows.where(2)) == (7, "openai/gsm8k (main, test), row 3")


def test_a_data_set_the_mirror_lacks_is_named(mirror: ThreadingHTTPServer) -> None:
    """An answering hub without the data set is another sentence than no hub."""
    with pytest.raises(DataError, match=r"cais/mmlu \(all, test\) could not be loaded from"):
        HubRows("MMLU", "test", download=True)


def test_a_split_nobody_uses_is_refused() -> None:
    """The message lists the splits there are."""
    with pytest.raises(DataError, match="expected one of train, test"):
        HubRows("GSM8K", "dev", download=False)


def test_any_data_set_is_read_by_its_id_and_then_from_the_cache(
    mirror: ThreadingHTTPServer, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The split is the one whose name says training, or test, or that was typed."""
    rows = open_set(HubId.read(f"{REPO}/main"), "train")
    assert (len(rows), rows.name) == (20, "openai/gsm8k (main) (train)")
    assert rows.read(3) == {"question": "q3", "answer": "<<3+0=3>>3"}
    assert len(open_set(HubId.read(f"hf:{REPO}/main[test]"), "train")) == 7
    point_at(endpoint, monkeypatch)
    assert len(open_set(HubId.read(f"{REPO}/main"), "test")) == 7


def test_a_data_set_that_cannot_be_had_is_named_with_what_to_type(
    mirror: ThreadingHTTPServer, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"some/thing could not be loaded.*HF_ENDPOINT"):
        open_set(HubId.read("some/thing"), "train")
    with pytest.raises(DataError, match="has no split dev"):
        open_set(HubId.read(f"{REPO}/main"), "dev")
    point_at(endpoint, monkeypatch)
    with pytest.raises(DataError, match=r"some/thing is not in the cache.*does not answer"):
        open_set(HubId.read("some/thing"), "train")


def test_an_id_is_told_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is marked, so that it stays one where the ranks run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    ids = ("lab/chats", "lab/chats/en[train_sft]:50*2@3", "ms:lab/chats")
    told = [run_plan.absolute_entry(text) for text in ids]
    assert told == ["hf:lab/chats", "hf:lab/chats/en[train_sft]:50*2@3", "ms:lab/chats"]
    for text in ("data/chats", "./lab/chats", "lab/chats.jsonl", "/lab/chats"):
        assert run_plan.absolute_entry(text) == str(tmp_path / text)
    config = RunConfig(data=DataConfig(mixture=("lab/chats/en[train_sft]:50*2",)))
    (entry,) = run_plan.data_settings(config).mixture
    assert (entry.name, entry.size, entry.epochs) == ("chats", 50, 2)
    assert entry.hub == HubId(id="lab/chats", config="en", split="train_sft")
    assert run_plan.has_own_files_alone(config)


def test_modelscope_is_asked_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through its own library, of which this is a stand-in; without it the line to type."""
    import datasets

    with pytest.raises(DataError, match="pip install modelscope"):
        open_set(HubId.read("ms:lab/chats"), "train")
    asked = []

    class MsDataset:
        @staticmethod
        def load(name: str, **options: str) -> object:
            asked.append((name, options))
            return datasets.Dataset.from_list([{"prompt": "a", "completion": "b"}])

    module = types.ModuleType("modelscope.msdatasets")
    module.MsDataset = MsDataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "modelscope", types.ModuleType("modelscope"))
    monkeypatch.setitem(sys.modules, "modelscope.msdatasets", module)
    assert len(open_set(HubId.read("ms:lab/chats/en"), "train")) == 1
    assert asked == [("lab/chats", {"split": "train", "subset_name": "en"})]
