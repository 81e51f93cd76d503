"""Six updates with each choice of optimizer, schedule and regularisation are those of others.

The reference is transformers' Trainer on the padded rows, or a loop of torch's own parts where
the Trainer has none (Muon).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.config import OptimConfig
from engine.model.hf import hf_config, hf_weights
from engine.model.hf.adamw_groups import NO_DECAY, groups
from engine.model.hf.hf_config import Lora
from engine.model.hf.hf_decoder import embedding_noise
from engine.model.hf.hf_weights import TrainedDecoder
from engine.optimizer.lr_schedule import TransformersSchedule
from engine.optimizer.optim import build_optimizer
from engine.session import LossModule
from engine.step.dataloader import MicroStep
from tests.engine.model.hf import architectures
from tests.engine.model.hf.architectures import CONFIGS, VOCAB

UPDATES = 6
LENGTHS = (17, 5, 11, 17)
SAME_UPDATE = 2e-3
"""Distance of the two results, of the way they went: AdamW follows the sign of what is rounding."""

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*keys did not match:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory.*"),
]


@dataclass
class Result:
    """What a run of six updates left."""

    losses: list[float]
    weights: dict[str, Tensor]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("hf") / "model"
    architectures.reference("llama").save_pretrained(found)
    return found


def loaded(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")


def decoder(folder: Path, lora: Lora | None = None) -> TrainedDecoder:
    shape = hf_config.read_folder(folder, lora=lora)
    return hf_weights.build(shape, hf_weights.start_state(shape))


@cache
def rows() -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randint(3, VOCAB, (n,), generator=random) for n in LENGTHS]


def micro_step(found: list[Tensor]) -> MicroStep:
    """Rows packed behind each other; every next token carries the same weight."""
    lengths = [len(row) for row in found]
    ends = torch.tensor([0, *lengths]).cumsum(0)
    spans = tuple(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
    places = torch.cat([torch.arange(a, b - 1) for a, b in spans])
    ids = torch.cat(found)
    return MicroStep(
        ids=ids,
        spans=spans,
        positions=torch.cat([torch.arange(n) for n in lengths]),
        ends=ends.to(torch.int32),
        supervised=places,
        targets=ids[places + 1],
        weights=torch.full((len(places),), 1 / len(places)),
        documents=places * 0,
        num_tokens=len(ids),
    )


def ours(
    settings: OptimConfig, model: TrainedDecoder, batch: Callable[[int], list[Tensor]]
) -> Result:
    """What the training loop does with these settings."""
    if settings.neftune_alpha:
        model.add_noise(settings.neftune_alpha)
    model.train()
    optimizer = build_optimizer(model, settings)
    schedule = TransformersSchedule.of(settings, UPDATES)
    loss_module = LossModule(model, label_smoothing=settings.label_smoothing)
    losses = []
    for step in range(UPDATES):
        optimizer.set_lr(schedule.multiplier(step))
        loss, _ = loss_module(micro_step(batch(step)))
        loss.backward()
        norm = optimizer.grad_norm(lambda tensor: tensor)
        if settings.max_grad_norm:
            optimizer.clip(norm, settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return Result(losses, model.state_dict())


def padded(found: list[Tensor]) -> dict[str, Tensor]:
    ids = torch.zeros(len(found), max(map(len, found)), dtype=torch.long)
    seen = torch.zeros_like(ids)
    for index, row in enumerate(found):
        ids[index, : len(row)], seen[index, : len(row)] = row, 1
    return {"input_ids": ids, "attention_mask": seen, "labels": ids.masked_fill(seen == 0, -100)}


def trainers(settings: OptimConfig, model: Any, place: Path, **more: Any) -> Result:
    """transformers' Trainer, all rows in every update."""
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(place),
        max_steps=UPDATES,
        per_device_train_batch_size=len(LENGTHS),
        learning_rate=settings.lr,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.adam_beta1,
        adam_beta2=settings.adam_beta2,
        adam_epsilon=settings.adam_epsilon,
        max_grad_norm=settings.max_grad_norm,
        label_smoothing_factor=settings.label_smoothing,
        optim="adamw_torch",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
        **more,
    )
    data: Any = [{"ids": row} for row in rows()]
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=lambda found: padded([each["ids"] for each in found]),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return Result(losses, {n: p.detach() for n, p in model.named_parameters()})


def assert_same(found: Result, wanted: Result, start: dict[str, Tensor], loss: float) -> None:
    assert found.losses == pytest.approx(wanted.losses, abs=loss)
    names = found.weights.keys() & wanted.weights.keys()
    # A tied head has one name; a frozen base is in theirs alone.
    assert names == found.weights.keys()
    apart = torch.stack([(found.weights[n] - wanted.weights[n]).norm() for n in names]).norm()
    way = torch.stack([(wanted.weights[n] - start[n]).norm() for n in names]).norm()
    assert float(apart) <= SAME_UPDATE * float(way)


# The Trainer's words beside ours. Its losses are logged with four digits.
CHOICES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "decay": ({"weight_decay": 0.3}, {"lr_scheduler_type": "linear"}),
    "betas": (
        {"adam_beta1": 0.7, "adam_beta2": 0.95, "adam_epsilon": 1e-4},
        {"lr_scheduler_type": "linear"},
    ),
    "warm-up": ({"warmup_steps": 2}, {"lr_scheduler_type": "linear", "warmup_steps": 2}),
    "cosine": (
        {"lr_schedule": "cosine", "warmup_ratio": 0.3},
        {"lr_scheduler_type": "cosine", "warmup_steps": 0.3},
    ),
    "constant": ({"lr_schedule": "constant"}, {"lr_scheduler_type": "constant"}),
    "wsd": (
        {"lr_schedule": "wsd", "warmup_steps": 1, "warmdown_ratio": 0.5, "final_lr_frac": 0.1},
        {
            "lr_scheduler_type": "warmup_stable_decay",
            "warmup_steps": 1,
            "lr_scheduler_kwargs": {"num_decay_steps": 3, "min_lr_ratio": 0.1},
        },
    ),
    "clipping": ({"max_grad_norm": 0.3}, {"lr_scheduler_type": "linear"}),
    "smoothing": ({"label_smoothing": 0.2}, {"lr_scheduler_type": "linear"}),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_six_updates_are_those_of_transformers_trainer(
    choice: str, folder: Path, tmp_path: Path
) -> None:
    settings, theirs = CHOICES[choice]
    wanted = OptimConfig(lr=3e-3, init_lr_frac=1.0, **settings)
    found = ours(wanted, decoder(folder), lambda step: rows())
    reference = trainers(wanted, loaded(folder), tmp_path, **theirs)
    start = {n: p.detach() for n, p in loaded(folder).named_parameters()}
    assert_same(found, reference, start, loss=1.5e-4)
    # The choice does something.
    plain = ours(OptimConfig(lr=3e-3, init_lr_frac=1.0), decoder(folder), lambda step: rows())
    apart = max(float((found.weights[n] - plain.weights[n]).abs().max()) for n in plain.weights)
    assert apart > 1e-4


def test_six_updates_with_noise_are_those_of_transformers_hook(folder: Path) -> None:
    """One row an update, so that its length is the batch's and both draw the same numbers."""
    from transformers.integrations.neftune import neftune_post_forward_hook

    settings = OptimConfig(lr=3e-3, init_lr_frac=1.0, neftune_alpha=5.0)
    torch.manual_seed(7)
    found = ours(settings, decoder(folder), lambda step: [rows()[step % len(LENGTHS)]])
    model = loaded(folder).train()
    table = model.get_input_embeddings()
    table.neftune_noise_alpha = 5.0
    table.register_forward_hook(neftune_post_forward_hook)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / UPDATES)
    losses = []
    torch.manual_seed(7)
    for step in range(UPDATES):
        row = rows()[step % len(LENGTHS)][None]
        loss = model(input_ids=row, labels=row).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    reference = Result(losses, {n: p.detach() for n, p in model.named_parameters()})
    start = {n: p.detach() for n, p in loaded(folder).named_parameters()}
    assert_same(found, reference, start, loss=2e-5)


def test_noise_stays_within_the_papers_bound_of_each_row_and_goes_when_measuring(
    folder: Path,
) -> None:
    """Short packed rows get more of it than long ones."""
    embedded = torch.zeros(1, 1010, 8)
    noise = embedding_noise(embedded, [10, 1000], alpha=5.0)[0]
    for part, size in ((noise[:10], 10), (noise[10:], 1000)):
        bound = 5.0 / (size * 8) ** 0.5
        assert 0.8 * bound < float(part.abs().max()) <= bound
    model = decoder(folder)
    step = micro_step(rows())
    model.eval()
    before = model(step.ids, spans=step.spans)
    model.add_noise(5.0)
    assert torch.equal(model(step.ids, spans=step.spans), before)
    model.train()
    assert not torch.allclose(model(step.ids, spans=step.spans), before, atol=1e-3)


def test_six_updates_of_muon_are_those_of_torchs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matrices of layers by torch.optim.Muon, tables by AdamW with decay, norms without."""
    settings = OptimConfig(
        lr=3e-3, matrix_lr=0.01, init_lr_frac=1.0, weight_decay=0.2, optimizer="muon"
    )
    found = ours(settings, decoder(folder), lambda step: rows())
    # torch orthogonalises in bfloat16; here the two shall be compared beyond its three digits.
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)
    model = loaded(folder).train()
    named = dict(model.named_parameters())
    matrices = [n for n, p in named.items() if ".layers." in n and p.ndim == 2]
    tables = [n for n, p in named.items() if n not in matrices and p.ndim == 2]
    vectors = [n for n, p in named.items() if p.ndim == 1]
    optimizers: list[Any] = [
        torch.optim.Muon([named[n] for n in matrices], lr=0.01, weight_decay=0.2, momentum=0.95),
        torch.optim.AdamW(
            [
                {"params": [named[n] for n in tables], "weight_decay": 0.2},
                {"params": [named[n] for n in vectors], "weight_decay": 0.0},
            ],
            lr=3e-3,
        ),
    ]
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(each, lambda step: 1 - step / UPDATES)
        for each in optimizers
    ]
    losses = []
    for _ in range(UPDATES):
        loss = model(**padded(rows())).loss
        loss.backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    reference = Result(losses, {n: p.detach() for n, p in named.items()})
    start = {n: p.detach() for n, p in loaded(folder).named_parameters()}
    assert_same(found, reference, start, loss=2e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_decays_is_what_transformers_trainer_decays(name: str) -> None:
    """But for vectors that are called neither norm nor bias (sinks): those do not decay here."""
    from transformers import AutoModelForCausalLM, Trainer

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(architectures.config(name))
    shapes = {n: tuple(p.shape) for n, p in model.named_parameters()}
    # A tied head is named there beside its table.
    theirs = shapes.keys() & set(Trainer.get_decay_parameter_names(None, model))
    found = groups(shapes, OptimConfig(weight_decay=0.1), VOCAB)
    ours = {n for group in found for n in group.parameters if group.weight_decay}
    assert ours <= theirs
    assert all(re.search(r"sinks$", n) for n in theirs - ours)
    assert {n for g in found if g.name == NO_DECAY for n in g.parameters} == set(shapes) - ours


def test_muon_gets_no_table_no_head_and_no_position(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    for name in ("gpt2", "llama", "gpt_oss"):
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(architectures.config(name))
        shapes = {n: tuple(p.shape) for n, p in model.named_parameters()}
        found = groups(shapes, OptimConfig(optimizer="muon"), VOCAB)
        muon = next(group for group in found if group.kernel == "muon").parameters
        assert all(re.search(r"\.(h|layers)\.\d+\.", n) and len(shapes[n]) == 2 for n in muon)
        assert sorted(n for g in found for n in g.parameters) == sorted(shapes)


def test_smoothing_is_torchs_with_and_without_a_cap() -> None:
    """In any chunks; the single losses stay plain, so that they can be compared with others'."""
    from engine.step.loss import weighted_loss

    hidden, head = torch.randn(9, 8), 3 * torch.randn(50, 8)
    targets, weights = torch.arange(9), torch.rand(9)
    for cap in (None, 2.0):
        mine = hidden.clone().requires_grad_(), head.clone().requires_grad_()
        theirs = hidden.clone().requires_grad_(), head.clone().requires_grad_()
        logits = theirs[0] @ theirs[1].T
        capped = logits if cap is None else torch.tanh(logits / cap) * cap
        wanted = F.cross_entropy(capped, targets, reduction="none", label_smoothing=0.3)
        (wanted * weights).sum().backward()
        loss, nll = weighted_loss(*mine, targets, weights, chunk=4, softcap=cap, smoothing=0.3)
        loss.backward()
        torch.testing.assert_close(loss, (wanted * weights).sum())
        plain = F.cross_entropy(capped, targets, reduction="none")
        torch.testing.assert_close(nll, plain, atol=2e-6, rtol=2e-6)
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-5)
        with torch.no_grad():
            again, _ = weighted_loss(
                mine[0], mine[1], targets, weights, chunk=5, softcap=cap, smoothing=0.3
            )
        torch.testing.assert_close(again, loss.detach())
