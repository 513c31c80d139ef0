"""Joint training: the tasks in turn, batch by batch, through one encoder."""

from __future__ import annotations

import random
import sys
import time
from collections import defaultdict

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from . import silver
from .examples import FOREIGN, IGNORED, Batch, Epochs, Example
from .heads import Judged
from .network import LABEL_TASKS, SPAN_TASKS, SPELL_TASK, Network, padded
from .settings import Recipe


def fit(
    network: Network,
    epochs: Epochs,
    recipe: Recipe,
    *,
    rounds: int,
    shares: dict[str, float],
    encoder_rate: float,
    words_too: bool,
    name: str,
    pool: silver.Pool | None = None,
) -> Network:
    """Trains in place for that many epochs; progress goes to standard error.

    The word table is half of all weights: it learns the field's words once (`words_too`) and
    then stays.
    """
    network.encoder.tokens.weight.requires_grad_(words_too)
    def drawn() -> list[Batch]:
        batches = epochs.batches(shares)
        if pool is not None:
            batches += pool.batches(recipe.silver_texts, recipe.batch_texts)
            random.Random(len(batches)).shuffle(batches)
        return batches

    first = drawn()
    steps = round(len(first) * rounds * 1.05) + 1
    optimiser, schedule = _optimiser(network, recipe, encoder_rate, steps)
    network.train()
    started = time.monotonic()
    for epoch in range(rounds):
        batches = first if epoch == 0 else drawn()
        totals: dict[str, list[float]] = defaultdict(list)
        for task, examples in batches:
            loss = _loss(network, (task, examples), recipe)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            totals[task].append(loss.item())
        spent = time.monotonic() - started
        left = spent / (epoch + 1) * (rounds - epoch - 1)
        losses = ", ".join(f"{task} {sum(v) / len(v):.3f}" for task, v in sorted(totals.items()))
        print(
            f"  {name}: epoch {epoch + 1}/{rounds}, {spent:.0f} s, about {left:.0f} s left; {losses}",
            file=sys.stderr,
            flush=True,
        )
    return network.eval()


def _optimiser(
    network: Network, recipe: Recipe, encoder_rate: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    groups: dict[tuple[bool, bool], list[Tensor]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = parameter.ndim > 1 and "tokens" not in name and "positions" not in name
        groups[name.startswith("heads."), decays].append(parameter)
    optimiser = torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": recipe.head_rate if is_head else encoder_rate,
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for (is_head, decays), parameters in groups.items()
        ],
        fused=True,
    )
    warmup = max(1, int(steps * recipe.warmup_share))

    def rate(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (steps - step) / max(1, steps - warmup))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rate)


def _loss(network: Network, batch: Batch, recipe: Recipe) -> Tensor:
    task, examples = batch
    ids, mask = padded([example.ids for example in examples])
    hidden = network.encoder(ids, mask)
    head = network.heads[task]
    if silver.is_silver(examples):
        places = silver.Places.of(task, examples, recipe.span_words_max)
        said = silver.logits(head, task, hidden, mask, places).log_softmax(-1)
        wanted = torch.from_numpy(np.concatenate([example.target for example in examples]))
        rows = len(examples) if task in LABEL_TASKS else sum(len(e.firsts) for e in examples)
        return -(wanted * said).sum() / rows
    if task in LABEL_TASKS:
        labels = torch.tensor([example.target for example in examples])
        return _label_loss(head(hidden, mask), labels, recipe)
    if task in SPAN_TASKS:
        targets = _span_targets(examples, ids.shape[1], recipe.span_words_max)
        losses = functional.cross_entropy(
            head(hidden).permute(0, 3, 1, 2), targets, ignore_index=IGNORED, reduction="sum"
        )
        return losses / sum(len(example.firsts) for example in examples)
    width = ids.shape[1]
    rows = [[*e.target, *[IGNORED] * (width - len(e.ids))] for e in examples]
    targets = torch.tensor(rows)
    if task == SPELL_TASK:
        asked = targets != IGNORED
        if not asked.any():
            return hidden.sum() * 0.0
        return functional.cross_entropy(network.spellings(hidden[asked]), targets[asked])
    return functional.cross_entropy(
        head(hidden).flatten(0, 1), targets.flatten(), ignore_index=IGNORED
    )


def _span_targets(examples: list[Example], width: int, words_max: int) -> Tensor:
    """Classes [B,S,S]: pairs of first pieces in order and not too far apart, others ignored."""
    targets = torch.full((len(examples), width, width), IGNORED)
    for row, example in enumerate(examples):
        for start, first in enumerate(example.firsts):
            for last in example.firsts[start : start + words_max]:
                if first is not None and last is not None:
                    targets[row, first, last] = 0
        for start, end, label in example.target:
            first, last = example.firsts[start], example.firsts[end - 1]
            if first is not None and last is not None:
                targets[row, first, last] = 1 + label
    return targets


def _label_loss(judged: Judged, labels: Tensor, recipe: Recipe) -> Tensor:
    """Cross entropy on known text, even odds on foreign text, and known told from foreign."""
    known = labels != FOREIGN
    loss = functional.binary_cross_entropy_with_logits(
        judged.known, known.float(), reduction="sum"
    )
    loss = recipe.known_weight * loss
    if known.any():
        loss = loss + functional.cross_entropy(
            judged.logits[known],
            labels[known],
            label_smoothing=recipe.label_smoothing,
            reduction="sum",
        )
    if not known.all():
        even = -functional.log_softmax(judged.logits[~known], -1).mean(1)
        loss = loss + recipe.even_weight * even.sum()
    return loss / len(labels)
