"""Settings: one source over another, all faults at once, nothing unknown accepted."""

import dataclasses
import re
import time
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from engine import config
from engine.config import RunConfig
from engine.errors import ConfigError
from engine.processes import launch, resume
from sftui.commands.run_flags import parse_run


def test_every_recipe_loads_and_is_in_range():
    """What ships works."""
    for name in config.recipe_names():
        assert config.load_recipe(name).check().recipe == name


def test_the_reference_recipe_holds_the_settings_of_the_reference_run():
    """`d16-low-memory` is the run this tool was made for, parameter by parameter."""
    flat = config.load_recipe("d16-low-memory").flat()
    wanted = {
        "source": "mid", "model_tag": "d16", "device_batch_size": 2,
        "target_examples_per_step": 32, "num_epochs": 3, "unembedding_lr": 0.008,
        "embedding_lr": 0.4, "matrix_lr": 0.04, "weight_decay": 0.1, "init_lr_frac": 0.02,
        "eval_every": 50, "eval_metrics_every": 100, "eval_metrics_max_problems": 1024, "gpus": 2,
    }  # fmt: skip
    assert {name: flat[name] for name in wanted} == wanted


def test_a_config_written_as_toml_reads_back_the_same(tmp_path: Path):
    """`config.toml` of a run can start the same run again."""
    before = RunConfig().replace(data_dir='a "b"\\c', mixture=("x.jsonl", "GSM8K:5"), seed=7)
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(before))
    assert config.load_toml(path, RunConfig()) == before


def test_flat_settings_survive_json_lists():
    """A manifest holds lists where the config has tuples."""
    before = RunConfig().replace(eval_tasks=("ARC-Easy",))
    flat = {k: list(v) if isinstance(v, tuple) else v for k, v in before.flat().items()}
    assert config.from_flat(flat, None) == before


def test_all_faults_of_a_file_are_named_at_once(tmp_path: Path):
    """A person mends the file in one go."""
    path = tmp_path / "c.toml"
    path.write_text('[optim]\nmatrx_lr = 1.0\n[batch]\nnum_epochs = "three"\nlayout = "heap"\n')
    with pytest.raises(ConfigError) as caught:
        config.load_toml(path, RunConfig())
    text = str(caught.value)
    assert "'matrx_lr'; did you mean matrix_lr?" in text
    assert "num_epochs is 'three'; expected a whole number" in text
    assert "layout is 'heap'" in text


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("num_iterations = 9999999999999999999999", "expected a whole number below 2^63"),
        ("num_iterations = -9223372036854775809", "expected a whole number of at least -2^63"),
        ("matrix_lr = 1" + "0" * 400, "expected a number of at most 1.7e308"),
    ],
)
def test_a_number_that_is_too_large_is_told_what_it_may_be(tmp_path: Path, setting, fault):
    """It was told twice what it is, and that a whole number is no whole number."""
    path = tmp_path / "c.toml"
    path.write_text(setting)
    name, _, value = setting.partition(" = ")
    with pytest.raises(ConfigError, match=re.escape(f"{name} is {value}; {fault}.")):
        config.load_toml(path, RunConfig())


def test_values_out_of_range_are_named_at_once():
    """Range checks name the value and what was expected."""
    with pytest.raises(ConfigError) as caught:
        RunConfig().replace(device_batch_size=0, matrix_lr=float("nan"), source="moon").check()
    text = str(caught.value)
    assert "device_batch_size is 0; expected at least 1" in text
    assert "matrix_lr is nan" in text
    assert "source is 'moon'" in text


@pytest.mark.parametrize("seed", [-1, -(2**63)])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    """numpy takes none below zero, and said so in a traceback when the rows were shuffled."""
    with pytest.raises(ConfigError, match=f"seed is {seed}; expected at least 0"):
        RunConfig().replace(seed=seed).check()


def test_a_setting_has_one_home():
    """Flat names would be ambiguous otherwise."""
    names = config.setting_names()
    assert len(names) == len(set(names))


def test_an_unknown_recipe_names_the_nearest():
    """A typo costs one look."""
    with pytest.raises(ConfigError, match="did you mean d16-low-memory"):
        config.load_recipe("d16-lowmemory")


def test_older_names_and_dashes_are_understood():
    """nanochat's max_iterations, and dashes for underscores."""
    made = config.apply(RunConfig(), {"max-iterations": 5, "matrix-lr": 1}, where="flags")
    assert made.batch.num_iterations == 5
    assert made.optim.matrix_lr == 1.0


def length(words: list[str]) -> tuple[int, int, bool]:
    """Epochs and iterations of a command, and whether its iterations count as typed."""
    flags, typed = parse_run(words)
    batch = flags.settings.batch
    return batch.num_epochs, batch.num_iterations, "num_iterations" in typed


def test_epochs_that_are_typed_are_not_ignored_for_a_recipes_iterations(tmp_path):
    """The starter's 181 iterations once made `--num-epochs 12` do nothing, without a word."""
    file = tmp_path / "my.toml"
    file.write_text("num_epochs = 5\n")
    starter = ["--recipe", "starter"]
    assert length(starter) == (1, 181, False)
    assert length([*starter, "--num-epochs", "12"]) == (12, -1, True)
    assert length([*starter, "--config", str(file)]) == (5, -1, True)
    assert length([*starter, "--config", str(file), "--num-iterations", "9"]) == (5, 9, True)
    # In one breath the iterations win, as in nanochat.
    assert length([*starter, "--num-epochs", "12", "--max-iterations=9"]) == (12, 9, True)
    file.write_text("num_epochs = 5\nmax-iterations = 7\n")
    assert length([*starter, "--config", str(file)]) == (5, 7, True)
    assert length([*starter, "--config", str(file), "--num-epochs=2"]) == (2, -1, True)


def test_typed_epochs_hold_over_a_recipe_that_is_chosen_for_them(tmp_path, monkeypatch):
    """Without --recipe the starter comes in below the flags."""
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path))
    flags, typed = parse_run(["--num-epochs", "12"])
    chosen, _ = launch.choose_recipe(flags.settings, frozenset(typed))
    assert (chosen.recipe, chosen.batch.num_epochs, chosen.batch.num_iterations) == (
        "starter",
        12,
        -1,
    )
    flags, typed = parse_run(["--gpus", "2"])
    chosen, _ = launch.choose_recipe(flags.settings, frozenset(typed))
    assert chosen.batch.num_iterations == 181


def test_epochs_typed_beside_resume_replace_the_runs_iterations():
    """Both are named as changes; the first command typed again changes nothing."""
    own = config.load_recipe("starter")
    flags, typed = parse_run(["--num-epochs", "3"])
    changed = resume.changes(own, flags.settings, frozenset(typed))
    assert changed == {"num_epochs": 3, "num_iterations": -1}
    assert resume.changes(own.replace(**changed), flags.settings, frozenset(typed)) == {}


def test_a_choice_is_written_once():
    """Every setting with a closed set of values refuses another one, with the values it has."""
    hints = {n: h for kind in config.GROUPS.values() for n, h in get_type_hints(kind).items()}
    closed = {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}
    assert len(closed) >= 5
    for name, choices in closed.items():
        with pytest.raises(ConfigError, match=f"{name} is 'heap'; expected one of {choices[0]}"):
            RunConfig().replace(**{name: "heap"}).check()
        # Some are refused without a Hugging Face model.
        for choice in choices:
            with_model = RunConfig().replace(model="tiny", **{name: choice})
            assert with_model.check().flat()[name] == choice


def test_what_nanochats_models_have_no_use_for_is_refused_without_a_model():
    """Refused by name, never ignored; with a model the same value is taken."""
    values = {"lr": 1e-4, "optimizer": "muon", "lr_schedule": "cosine", "warmup_steps": 2}
    values |= {"adam_beta1": 0.8, "adam_beta2": 0.9, "adam_epsilon": 1e-6}
    values |= {"neftune_alpha": 5.0, "label_smoothing": 0.1}
    assert set(values) == set(config.WITH_MODEL)
    for name, value in values.items():
        with pytest.raises(ConfigError, match=f"{name} is set without model"):
            RunConfig().replace(**{name: value}).check()
        assert RunConfig().replace(model="tiny", **{name: value}).check().flat()[name] == value


def test_the_groups_are_the_fields_of_the_run_config():
    """A group that is added to `RunConfig` is read, checked and written without a second list."""
    assert [*config.GROUPS, "recipe"] == [f.name for f in dataclasses.fields(RunConfig)]


def test_a_hundred_thousand_unknown_settings_are_refused_at_once() -> None:
    """Each was compared with every known name."""
    began = time.process_time()
    with pytest.raises(ConfigError, match=r"unknown setting 'gpu'.*unknown setting 'x0'"):
        config.from_flat({"gpu": 1} | {f"x{number}": 1 for number in range(100_000)}, None)
    assert time.process_time() - began < 4.0
