"""nanochat's optimizer files of 2026: one whole state out of the shards of any number of ranks.

A file is a torch state dict, `{state, param_groups}`, whose parameters are numbered through the
groups in order. AdamW's moments of a large parameter lie by rows over the ranks, those of a
small one whole in each file; Muon's state of a group lies in chunks along its first
dimension, the last ones padded, under the number of the group's first parameter.
"""

# W ranks, n matrices of a Muon group.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import CheckpointError
from engine.model.family import ParameterGroup
from engine.model.nanochat.gpt_config import GPTConfig

SMALL = 1024
"""AdamW parameters of fewer elements are whole on every rank."""


def file_groups(config: GPTConfig, groups: Sequence[ParameterGroup]) -> list[tuple[str, list[str]]]:
    """(group, parameters) as nanochat's files number them: Muon's matrices by shape, ascending."""
    shapes = config.parameter_shapes()
    found: list[tuple[str, list[str]]] = []
    for group in groups:
        if group.kernel == "adamw":
            found.append((group.name, list(group.parameters)))
            continue
        for shape in sorted({shapes[name] for name in group.parameters}):
            members = [name for name in group.parameters if shapes[name] == shape]
            found.append((group.name, members))
    return found


def read(
    config: GPTConfig, groups: Sequence[ParameterGroup], files: Sequence[Path]
) -> dict[str, Tensor]:
    """One whole state, as `ShardedOptimizer.load_state_dict` takes it; on the CPU.

    With it come the betas, eps and decay that the base run ended with, as nanochat's own
    loading replaces them. Learning rates and Muon's momentum follow from the new run.

    Raises:
        CheckpointError: a file is damaged, or the shards together are not this model's state.
    """
    shards = [_load(path) for path in files]
    pairs = list(zip(files, shards, strict=True))
    wanted = file_groups(config, groups)
    shapes = config.parameter_shapes()
    state: dict[str, Tensor] = {}
    number = 0
    for place, (group, names) in enumerate(wanted):
        constants = _constants(files[0], shards[0], place, names)
        kind = constants.get("kind")
        if kind == "adamw":
            for offset, name in enumerate(names):
                own = [_entry(path, shard, number + offset) for path, shard in pairs]
                step = int(own[0]["step"])
                state[f"{name}/step"] = torch.tensor(float(step))
                state[f"{name}/first_row"] = torch.tensor(0)
                for moment in ("exp_avg", "exp_avg_sq"):
                    parts = [each[moment] for each in own]
                    state[f"{name}/{moment}"] = _rows(files[0], name, parts, shapes[name])
            beta1, beta2 = constants["betas"]
            eps = constants["eps"]
        else:
            own = [_entry(path, shard, number) for path, shard in pairs]
            for theirs, ours in (
                ("momentum_buffer", "momentum"),
                ("second_momentum_buffer", "second_momentum"),
            ):
                stack = torch.cat([each[theirs] for each in own])
                _check(files[0], names[0], len(own[0][theirs]) == -(-len(names) // len(own)))
                for name, matrix in zip(names, stack, strict=False):
                    fits = ours != "momentum" or tuple(matrix.shape) == shapes[name]
                    _check(files[0], name, fits)
                    state[f"{name}/{ours}"] = matrix.clone()
            beta1, beta2, eps = 0.0, constants["beta2"], 1e-10
        decay = constants["weight_decay"]
        state[f"groups/{group}"] = torch.tensor([beta1, beta2, eps, decay], dtype=torch.float64)
        number += len(names)
    return state


def written(
    config: GPTConfig,
    groups: Sequence[ParameterGroup],
    pieces: Sequence[Mapping[str, Tensor]],
    *,
    multiplier: float,
    momentum: float,
) -> dict[str, Any]:
    """The content of the file one rank would write, from the shards of any number of ours.

    Raises:
        CheckpointError: a part of the state is in no shard.
    """
    state: dict[int, dict[str, Any]] = {}
    described: list[dict[str, Any]] = []
    by_name = {group.name: group for group in groups}
    number = 0
    for group_name, names in file_groups(config, groups):
        group = by_name[group_name]
        beta1, beta2, eps, decay = _whole(pieces, f"groups/{group_name}").tolist()
        entry: dict[str, Any] = {"kind": "adamw", "lr": group.lr * multiplier}
        if group.kernel == "adamw":
            entry |= {"betas": (beta1, beta2), "eps": eps}
            for offset, name in enumerate(names):
                state[number + offset] = {
                    "step": int(_whole(pieces, f"{name}/step")),
                    "exp_avg": _joined(pieces, name, "exp_avg"),
                    "exp_avg_sq": _joined(pieces, name, "exp_avg_sq"),
                }
        else:
            entry |= {"kind": "muon", "momentum": momentum, "ns_steps": 5, "beta2": beta2}
            state[number] = {
                f"{kind}_buffer": torch.stack([_whole(pieces, f"{name}/{kind}") for name in names])
                for kind in ("momentum", "second_momentum")
            }
        entry |= {"weight_decay": decay, "initial_lr": group.lr}
        entry["params"] = list(range(number, number + len(names)))
        described.append(entry)
        number += len(names)
    return {"state": state, "param_groups": described}


def _whole(pieces: Sequence[Mapping[str, Tensor]], key: str) -> Tensor:
    for piece in pieces:
        if key in piece:
            return piece[key]
    raise CheckpointError(
        f"the checkpoint holds no optimizer state {key}; expected one that a run of this model "
        "saved. Export another checkpoint."
    )


def _joined(pieces: Sequence[Mapping[str, Tensor]], name: str, moment: str) -> Tensor:
    own = [piece for piece in pieces if f"{name}/{moment}" in piece]
    if not own:
        return _whole(own, f"{name}/{moment}")
    own.sort(key=lambda piece: int(piece[f"{name}/first_row"]))
    return torch.cat([piece[f"{name}/{moment}"] for piece in own])


def _rows(path: Path, name: str, parts: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
    whole = parts[0] if tuple(parts[0].shape) == shape else torch.cat(list(parts))
    _check(path, name, tuple(whole.shape) == shape)
    return whole.clone()


def _check(path: Path, name: str, fits: bool) -> None:
    if not fits:
        raise CheckpointError(
            f"{path} and the other ranks' files beside it do not hold the whole optimizer state of "
            f"{name}; expected the shards of every rank of one run. Copy the missing ones, or pass "
            "--no-load-optimizer to begin with a fresh optimizer."
        )


def _constants(path: Path, shard: Mapping[str, Any], place: int, names: list[str]) -> Any:
    groups = shard["param_groups"]
    fits = place < len(groups) and len(groups[place]["params"]) == len(names)
    _check(path, names[0], fits)
    return groups[place]


def _entry(path: Path, shard: Mapping[str, Any], number: int) -> Any:
    found = shard["state"].get(number)
    _check(path, f"parameter {number}", isinstance(found, dict))
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    # Whatever a damaged archive can do wrong.
    except Exception as error:
        raise CheckpointError(
            f"{path}: cannot be read ({type(error).__name__}); expected an optimizer file of "
            "nanochat's. Copy it again, or pass --no-load-optimizer."
        ) from None
    if not isinstance(found, dict) or not {"state", "param_groups"} <= set(found):
        raise CheckpointError(
            f"{path}: is no optimizer file; expected state and param_groups. Pass "
            "--no-load-optimizer to begin with a fresh optimizer."
        )
    return found
