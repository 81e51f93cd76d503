"""What a person may type wrong: one clear line, exit code 2, nothing started, nothing lost."""

import json
import pickle
from pathlib import Path

import pytest

from engine.processes import devices
from engine.run import lock, run_dir
from sftui.cli import main
from tests import tiny


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a nanochat cache and data beside it."""
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tiny.write_cache(tmp_path / "cache")))
    monkeypatch.delenv("SFTUI_RUNS", raising=False)
    monkeypatch.setattr(devices, "count_gpus", lambda *_: 0)
    tiny.write_data(tmp_path / "data")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def refused(capsys, *words: str) -> str:
    """The one line a refused `run` prints; nothing may have been made."""
    code = main(["run", *tiny.SETTINGS, "--headless", *words])
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if "error:" in line]
    assert code == 2, captured.err
    assert len(lines) == 1, captured.err
    assert captured.out == ""
    assert not Path("runs").exists()
    assert not Path("logs").exists()
    return lines[0].removeprefix("sftui: error: ")


def data(place: Path) -> str:
    return f"--data-dir={place / 'data'}"


def test_a_dry_run_says_the_plan_and_makes_nothing(place, capsys):
    """Every check, the numbers that follow from the settings, and no file."""
    assert main(["run", *tiny.SETTINGS, data(place), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "mid d1 step 7" in out
    assert "memory      fits: " in out
    assert "8 = 2 x 1 rank x 4 micro-batches" in out.replace("rows = ", "= ").replace("8 =", "8 =")
    assert not Path("runs").exists()


def test_a_missing_checkpoint_names_what_there_is(place, capsys):
    """The steps that exist are in the message."""
    text = refused(capsys, data(place), "--step=99")
    assert "no step 99" in text
    assert "expected one of 7" in text


def test_an_empty_cache_says_where_it_looked(place, capsys, monkeypatch):
    """And how to name another."""
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(place / "nowhere"))
    assert "NANOCHAT_BASE_DIR" in refused(capsys, data(place), "--source=mid")


def test_a_2026_checkpoint_is_recognised(place, capsys):
    """Refused with a sentence that says what it is."""
    meta = place / "cache/mid_checkpoints/d1/meta_000007.json"
    content = json.loads(meta.read_text())
    content["model_config"]["window_pattern"] = "SSSL"
    meta.write_text(json.dumps(content))
    assert "2026 generation" in refused(capsys, data(place))


def test_a_tokenizer_of_another_vocabulary_is_refused(place, capsys):
    """Both sizes are named."""
    meta = place / "cache/mid_checkpoints/d1/meta_000007.json"
    content = json.loads(meta.read_text())
    content["model_config"]["vocab_size"] = 4096
    meta.write_text(json.dumps(content))
    text = refused(capsys, data(place))
    assert "265" in text
    assert "4,096" in text


class Exploit:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_a_hostile_tokenizer_runs_nothing(place, capsys):
    """A pickle from a stranger is read by an unpickler that knows one inert name."""
    marker = place / "ran"
    path = place / "cache/tokenizer/tokenizer.pkl"
    path.write_bytes(pickle.dumps(Exploit(marker)))
    assert "tokenizer.pkl" in refused(capsys, data(place))
    assert not marker.exists()


def test_an_empty_data_file_is_named(place, capsys):
    """The file and what was expected."""
    (place / "data/GSM8K.train.jsonl").write_text("")
    assert "GSM8K.train.jsonl" in refused(capsys, data(place))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"messages": [{"role": "asistant", "content": "x"}]}', "asistant"),
        ('{"messages": ', "JSON"),
        ("[1, 2]", "expected"),
        ('{"question": "Q?", "choices": ["a"], "letters": ["A"], "answer": "C"}', "choices"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(place, capsys, line, said):
    """Before anything is started."""
    path = place / "data/SmolTalk.train.jsonl"
    rows = path.read_text().splitlines()
    rows[16] = line
    path.write_text("\n".join(rows) + "\n")
    text = refused(capsys, data(place))
    assert "SmolTalk.train.jsonl:17" in text
    assert said in text


def test_malformed_rows_can_be_skipped_and_are_counted(place, capsys):
    """Never in silence."""
    path = place / "data/SmolTalk.train.jsonl"
    path.write_text(path.read_text() + "{\n")
    assert main(["run", *tiny.SETTINGS, data(place), "--skip-bad-rows", "--dry-run"]) == 0
    assert "1 malformed rows skipped in SmolTalk.train" in capsys.readouterr().err


def test_a_missing_data_file_names_the_folder(place, capsys):
    """All missing files at once."""
    (place / "data/MMLU.test.jsonl").unlink()
    (place / "data/GSM8K.train.jsonl").unlink()
    text = refused(capsys, data(place))
    assert "MMLU.test" in text
    assert "GSM8K.train" in text


def test_no_network_and_no_data_folder_says_what_to_do(place, capsys, monkeypatch):
    """Quickly, and in one line: the data set, --data-dir and the mirror variable."""
    # Port 9 of the loopback interface: nothing listens, the answer is immediate.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(place / "empty"))
    text = refused(capsys)
    assert "allenai/ai2_arc" in text
    assert "--data-dir" in text
    assert "HF_ENDPOINT" in text


def test_an_indivisible_batch_names_values_that_work(place, capsys):
    """Both the row count and the micro-batch can be mended."""
    text = refused(capsys, data(place), "--target-examples-per-step=9")
    assert "--target-examples-per-step 8 or 10" in text


def test_fewer_gpus_than_ranks_names_both_numbers(place, capsys, monkeypatch):
    """Some GPUs, but not enough."""
    monkeypatch.setattr(devices, "count_gpus", lambda *_: 1)
    text = refused(capsys, data(place), "--gpus=2")
    assert "asks for 2 GPUs; 1 is visible" in text


def test_an_unknown_flag_names_the_nearest(place, capsys):
    """nanochat's underscores are understood too."""
    assert "did you mean --matrix-lr" in refused(capsys, "--matix_lr=0.1")


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--gpus=two", "two"),
        ("--gpus=0", "gpus is 0"),
        ("--layout=heap", "heap"),
        ("--source=moon", "moon"),
        ("--config=/nowhere.toml", "/nowhere.toml"),
        ("--mixture=Nothing", "Nothing"),
        ("--eval-tasks=ARC-Esay", "ARC-Easy"),
    ],
)
def test_a_wrong_value_is_one_line(place, capsys, flag, said):
    """No box, no traceback."""
    assert said in refused(capsys, data(place), flag)


def test_an_unknown_command_names_the_nearest(capsys):
    """And the list."""
    assert main(["atach"]) == 2
    assert "did you mean attach" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_one_line(place, capsys):
    """For every command that takes one."""
    for words in (["attach"], ["show", "nope"], ["ctl", "nope", "pause"]):
        assert main(words) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_controls_of_a_run_that_is_over_are_refused(place, capsys, tmp_path):
    """Nothing could answer; the request is not even written."""
    from datetime import datetime

    made = run_dir.create(Path("runs"), "old", datetime(2026, 1, 1))
    made.manifest.write_text("{}")
    made.control.touch()
    assert main(["ctl", made.id, "pause"]) == 2
    assert "is not running" in capsys.readouterr().err
    assert made.control.read_text() == ""


def test_a_run_directory_in_use_names_its_holder(place, tmp_path):
    """The second supervisor is refused with the first one's pid."""
    from datetime import datetime

    from engine.errors import RunDirError

    made = run_dir.create(Path("runs"), "busy", datetime(2026, 1, 1))
    with (
        lock.RunLock.acquire(made),
        pytest.raises(RunDirError, match="in use by process"),
    ):
        lock.RunLock.acquire(made)


@pytest.mark.parametrize("command", ["run", "attach", "ctl", "show", "runs"])
def test_every_command_has_help_with_examples(command, capsys):
    """Help opens with a sentence and closes with two examples that name the command."""
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code in (0, None)
    out = capsys.readouterr().out
    assert out.count(f"sftui {command}") >= 2


@pytest.mark.parametrize("words", [["lr"], ["lr", "fast"], ["pause", "3"], ["explode"]])
def test_a_control_typed_wrong_is_one_line(place, capsys, words):
    """Unknown words and arguments, before the run is even looked for."""
    assert main(["ctl", "any", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
