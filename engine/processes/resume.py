"""The launcher's side of `--resume`: check that a run can go on, and with which settings.

The run's own settings hold. What is typed beside `--resume` is compared with them:
where the run began can never change, what shapes the training changes only with
`--resume-changed` and is told in the event log, the rest (ranks, checkpoints, how
often is evaluated) changes freely. No torch in here, and nothing is written before
every check has passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.checkpoints import checkpoint_dir, nanochat_paths, weights_header
from engine.config import HF, OLD_RECIPES, STARTER, RunConfig, from_flat, setting_names
from engine.data import row_digests, supervision
from engine.data.data_check import DataSummary, check_data
from engine.errors import CheckpointError, ConfigError, RunDirError
from engine.journal import event_files, wire
from engine.model import family
from engine.processes import devices, launch, logout
from engine.processes.sandbox_check import sandbox_note
from engine.run import lock, resume_file, run_dir, seal
from engine.run.resume_file import Resumption
from engine.run.run_dir import RunDir
from engine.step import packed_run, row_packing, run_plan
from engine.step.plan import Plan
from engine.step.row_packing import RowPlan

FIXED = frozenset({"source", "model_tag", "step", "run"})
"""Settings that say what the run is; another value is another run."""

FREE = frozenset(
    {
        "gpus",
        "device_type",
        "threads",
        "layout",
        "micro_tokens",
        "activation_checkpointing",
        "compile",
        "loader_workers",
        "on_nonfinite",
        "max_restarts",
        "restart_silent",
        "nodes",
        "rendezvous",
        "checkpoint_every",
        "keep",
        "eval_every",
        "eval_metrics_every",
        "sample_every",
        "sample_prompts",
    }
)
"""Settings that change neither the rows and weights of a step nor what is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run that can go on: every check has passed."""

    run: RunDir
    config: RunConfig
    """As it will be used; `gpus` is the plan's number of ranks."""
    world_size: int
    """Ranks that will run."""
    device: devices.Devices
    plan: Plan | RowPlan
    start_step: int
    checkpoint: Path | None
    """Newest checkpoint by its manifest; None starts from the beginning."""
    changed: Mapping[str, Any] = field(default_factory=dict)
    """Settings that differ from the run's own, with their new values."""
    data: DataSummary
    other_rows: bool = False
    """The rows are others than those of before, or were never recorded."""
    rows_said: str = ""
    """How the rows compare with those of before, in words."""
    notes: tuple[str, ...] = ()


def prepare(
    run: RunDir, wanted: RunConfig, typed: frozenset[str], *, allow_changes: bool = False
) -> Prepared:
    """Check a run from end to end without starting anything.

    Args:
        wanted: holds the settings that were typed beside `--resume`.
        typed: their names; all other settings of `wanted` are ignored.
        allow_changes: `--resume-changed`.

    Raises:
        UsageError: the first thing that stands in the way.
    """
    run_dir.refuse_links(run)
    _refuse_running(run)
    manifest = resume_file.manifest_now(run)
    _refuse_incomplete(run, manifest)
    _refuse_finished(run)
    own = from_flat(manifest["config"], manifest.get("recipe"))
    changed = changes(own, wanted, typed)
    forbid(own, changed, allow_changes=allow_changes)
    # The plan stays that of the ranks it was made for; the running number is another thing.
    world_size = int(changed.pop("gpus", manifest["world_size"]))
    config = own.replace(**changed).check()
    _refuse_unsealed(run, config, typed)
    local = max(1, world_size // config.runtime.nodes)
    device = devices.find(local, config.runtime.device_type)
    shape = family.shape_from(manifest["start"]["model_config"])
    tokenizer = family.run_tokenizer(shape, run.tokenizer, manifest["tokenizer_sha256"])
    newest = _newest_checkpoint(run, manifest)
    data = check_data(
        run_plan.data_settings(config, run_plan.exam_seed(manifest)),
        max_validation_rows=run_plan.validation_rows_wanted(config),
        limits=run_plan.exam_limits(config),
        teaches=supervision.teacher(tokenizer, config.data.max_tokens),
        max_tokens=config.data.max_tokens,
    )
    rows = _compare_rows(run, manifest, data, allow_changes=allow_changes)
    plan: Plan | RowPlan
    if packed_run.is_packed(own):
        _refuse_other_rows(changed, own)
        plan = row_packing.load(run.packing)[0]
    else:
        if data.num_rows != manifest["rows"]:
            run_plan.check_rows(config, data.num_rows)
        plan = run_plan.make_plan(config, data.num_rows)
    launch.check_room(config, shape, device.device_type, run.path)
    start_step = 0 if newest is None else newest.step
    if start_step > plan.num_updates:
        raise ConfigError(
            f"{run.id} has done {start_step} updates already; the settings plan "
            f"{plan.num_updates}. Type a larger --num-iterations or --num-epochs."
        )
    asked = differences(own, changed)
    notes = (
        device.note,
        sandbox_note(config),
        *asked,
        *rows.notes,
        *data.notes,
        logout.protection().note,
    )
    return Prepared(
        run=run,
        config=config,
        world_size=world_size,
        device=device,
        plan=plan,
        start_step=start_step,
        checkpoint=None if newest is None else newest.path,
        changed=changed,
        data=data,
        other_rows=rows.others,
        rows_said=rows.said,
        notes=tuple(note for note in notes if note),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """The data's rows now against those that the run was planned with."""

    others: bool
    said: str
    notes: tuple[str, ...] = ()


def _compare_rows(
    run: RunDir, manifest: Mapping[str, Any], data: DataSummary, *, allow_changes: bool
) -> _Comparison:
    """Whether the rows are others than the run's.

    Raises:
        ConfigError: they are, and nobody said that this is meant.
    """
    if data.num_rows != manifest["rows"]:
        count = (
            f"the data has {data.num_rows:,} training rows now; {run.id} was planned for "
            f"{manifest['rows']:,}"
        )
        if not allow_changes:
            raise ConfigError(
                f"{count}. Put the files back as they were, or type --resume-changed "
                "to go on with these."
            )
        return _Comparison(others=True, said="others than before", notes=(count,))
    recorded = manifest.get(row_digests.KEY)
    if recorded is None:
        # A run of an earlier sftui. From here on there is something to compare with.
        note = (
            f"{run.id} was started by a version that kept no digest of its rows: only their "
            "number was compared, not their texts"
        )
        return _Comparison(others=True, said="as many as before", notes=(note,))
    if found := row_digests.changed(data.digests, recorded):
        if not allow_changes:
            raise ConfigError(row_digests.refusal(run, found))
        notes = tuple(f"{each} are others than before" for each in found)
        return _Comparison(others=True, said="others than before", notes=notes)
    if data.from_hub:
        names = ", ".join(data.from_hub)
        note = f"{names}: read from the hub, so the ranks compare the rows, not this command"
        return _Comparison(others=False, said="the same as before where looked at", notes=(note,))
    return _Comparison(others=False, said="the same as before, by their digests")


def _refuse_unsealed(run: RunDir, config: RunConfig, typed: frozenset[str]) -> None:
    """Refuse what would act on this machine for somebody else.

    Raises:
        ConfigError: naming the settings that have to be typed.
    """
    names = seal.unsealed(run.read_manifest(), config.flat(), typed)
    if names:
        flat = config.flat()
        again = " ".join(
            f"--{name.replace('_', '-')}" + ("" if flat[name] is True else f" {flat[name]}")
            for name in names
        )
        raise ConfigError(
            f"{run.id} was not started by you with {again}: from a run of somebody else's that "
            "would let others act on this machine. If you mean it, type it beside --resume."
        )


def _refuse_incomplete(run: RunDir, manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest without what a run goes on from.

    Raises:
        RunDirError: naming what is missing.
    """
    missing = [
        name
        for name in ("config", "world_size", "tokenizer_sha256", "rows", "start")
        if manifest.get(name) is None
    ]
    start = manifest.get("start") or {}
    missing += [
        f"start.{name}" for name in ("source", "tag", "step", "model_config") if name not in start
    ]
    if not missing and not isinstance(start["model_config"], dict):
        missing = ["a table start.model_config"]
    if missing:
        raise RunDirError(
            f"{run.manifest} lacks {', '.join(missing)}; expected what `sftui run` writes there. "
            "Copy it from where the run was made."
        )


def _refuse_running(run: RunDir) -> None:
    alive, why = lock.evidence(run)
    if alive:
        raise RunDirError(
            f"{run.id} is running: {why}. Watch it with `sftui attach {run.id}`, or stop it "
            f"first with `sftui ctl {run.id} stop`."
        )


def _refuse_finished(run: RunDir) -> None:
    end = event_files.finished(run)
    if end is not None and end.status == "finished":
        raise RunDirError(
            f"{run.id} finished after {end.updates} updates, so nothing is left to do. Start a "
            "new run from its result with `sftui run --source sft`, or begin again without "
            "--resume."
        )


def changes(own: RunConfig, wanted: RunConfig, typed: frozenset[str]) -> dict[str, Any]:
    """Typed settings whose value is not the run's own.

    Typing the run's first command again with `--resume` added changes nothing.

    Raises:
        ConfigError: another recipe was named.
    """
    recipes = {OLD_RECIPES.get(each or "", each) for each in (wanted.recipe, own.recipe)}
    if "recipe" in typed and len(recipes) > 1:
        raise ConfigError(
            f"--recipe {wanted.recipe} with --resume: the run was started with "
            f"{own.recipe or 'no recipe'}. Leave it out; type the settings that shall change."
        )
    old, new = own.flat(), launch.absolute_paths(wanted).flat()
    names = [name for name in setting_names() if name in typed]
    return {name: new[name] for name in names if new[name] != old[name]}


PLANNED = frozenset(
    {
        *("num_iterations", "num_epochs", "total_batch_size", "device_batch_size"),
        *("max_seq_len", "max_tokens", "packing", "compat", "mixture", "data_dir", "seed"),
        *("validation", "eval_tokens", "skip_bad_rows", "smoltalk_rows"),
    }
)
"""What the packed rows in the run directory were worked out from."""


def _refuse_other_rows(changed: Mapping[str, Any], own: RunConfig) -> None:
    """Raises:
    ConfigError: a setting that would pack the rows anew.
    """
    planned = {name: value for name, value in changed.items() if name in PLANNED}
    if planned:
        raise ConfigError(
            f"{'; '.join(differences(own, planned))}. The rows of this run are packed already and "
            "kept in its folder. Leave the flag out, or start a new run without --resume."
        )


def forbid(own: RunConfig, changed: Mapping[str, Any], *, allow_changes: bool) -> None:
    """Refuse changes that would make it another run, or that nobody said are meant.

    Raises:
        ConfigError: naming every such setting with both values.
    """
    fixed = [name for name in changed if name in FIXED]
    if fixed:
        raise ConfigError(
            f"{'; '.join(differences(own, {name: changed[name] for name in fixed}))}. Where a run "
            "began cannot change. Leave the flag out, or start a new run without --resume."
        )
    shaping = {name: value for name, value in changed.items() if name not in FREE}
    if shaping and not allow_changes:
        raise ConfigError(
            f"{'; '.join(differences(own, shaping))}. This changes the training. Type "
            "--resume-changed to go on so (it is logged), or leave the flag out."
        )


def differences(own: RunConfig, changed: Mapping[str, Any]) -> list[str]:
    """`matrix_lr is 0.02 now, was 0.04`, one text a setting."""
    old = own.flat()
    return [f"{name} is {_text(new)} now, was {_text(old[name])}" for name, new in changed.items()]


def record(prepared: Prepared, *, command: Sequence[str], now: datetime) -> str:
    """Write the resumption down; the ranks read it when they start. Its id, for the supervisor.

    Raises:
        RunDirError: the directory is not writable, or another command was quicker.
    """
    data = prepared.data
    try:
        with resume_file.alone(prepared.run):
            _refuse_running(prepared.run)
            if prepared.other_rows:
                row_digests.forget(prepared.run)
            found = Resumption(
                created=now.timestamp(),
                attempt=event_files.next_attempt(prepared.run),
                world_size=prepared.world_size,
                device_type=prepared.device.device_type,
                changed=prepared.changed,
                command=tuple(command),
                rows=data.num_rows if prepared.other_rows else None,
                row_digests=dict(data.digests) if prepared.other_rows else None,
                id=wire.new_id(),
                held=False,
            )
            resume_file.append(prepared.run, found)
            return found.id
    except OSError as error:
        raise RunDirError(
            f"cannot write {prepared.run.resume}: {error.strerror}. Free some space, or check "
            "that the run directory is yours."
        ) from None


def describe(prepared: Prepared) -> list[str]:
    """The lines that `--dry-run` prints: from where the run would go on."""
    plan = prepared.plan
    where = "its beginning" if prepared.checkpoint is None else str(prepared.checkpoint)
    ranks = f"{prepared.world_size} x {prepared.device.device_type}"
    if prepared.world_size != plan.world_size:
        ranks += f", executing the plan of {plan.world_size}"
    return [
        f"resume      {prepared.run.id} from {where}",
        f"ranks       {ranks}",
        f"step        {prepared.start_step:,} of {plan.num_updates:,} updates",
        f"rows        {plan.num_rows:,}, {prepared.rows_said}",
        *(f"changed     {name} {_text(value)}" for name, value in prepared.changed.items()),
        "nothing was started",
    ]


def _newest_checkpoint(
    run: RunDir, manifest: Mapping[str, Any]
) -> checkpoint_dir.CheckpointInfo | None:
    """The newest checkpoint whose files are all there; the ranks compare every byte."""
    found = checkpoint_dir.list_checkpoints(run)
    if not found:
        # Directories, but no whole one among them: that is an error with its own words.
        checkpoint_dir.newest_valid(run)
        start = manifest["start"]
        if start["source"] not in (STARTER, HF):
            base = Path(start["base_dir"])
            ref = nanochat_paths.find_checkpoint(
                start["source"], start["tag"], start["step"], base=base
            )
            weights_header.check(ref.model_path, ref.config)
        return None
    for newest in reversed(found):
        shape = newest.state.get("model_config")
        if shape == manifest["start"]["model_config"]:
            return newest
        try:
            checkpoint_dir.verify(newest.path)
        except CheckpointError:
            continue  # a damaged byte, and no other model: the ranks pass it over too
        raise CheckpointError(
            f"{newest.path} holds a model of another shape than run.json says ({shape}). Resume "
            "the run it belongs to."
        )
    return checkpoint_dir.newest_valid(run)[0]  # there is none, and it says so


def _text(value: object) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) or "none"
    return "not set" if value is None or value == "" else str(value)
