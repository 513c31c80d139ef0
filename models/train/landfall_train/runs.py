"""Several networks of one recipe, trained side by side, and their mean.

All runs begin at the adapted network, heads included, so that the mean of their weights is a
network too, and a better one than each (Wortsman et al. 2022, "Model soups").
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from . import corpus, joint, material, silver
from .examples import Epochs
from .network import Network
from .settings import Recipe


@dataclass(frozen=True)
class Job:
    """What a set of runs learns from, and where its files are. Sent to other processes."""

    name: str
    recipe: Recipe
    shares: dict[str, float]
    splits: tuple[str, ...]
    data: Path
    work: Path
    seed: int
    count: int
    # File of silver examples in `work`; none for those who make them.
    silver: str | None = None

    def path(self, run: int) -> Path:
        """The network of one run."""
        return self.work / f"{self.name}-{run}.safetensors"


def network(path: Path, data: Path, dropout: float = 0.0) -> Network:
    """A stored network."""
    state = load_file(path)
    made = Network(dropout, len(corpus.intents(data)), state["pieces"].tolist())
    made.load_state_dict(state)
    return made


def save(state: dict[str, Tensor], path: Path) -> None:
    """Stores a network whole or not at all."""
    part = path.with_name(path.name + ".part")
    save_file({name: value.contiguous() for name, value in state.items()}, part)
    part.rename(path)


def run_all(job: Job, threads: int) -> list[Path]:
    """Trains the runs that have no result yet, side by side as far as there are threads."""
    wanted = [at for at in range(job.count) if not job.path(at).exists()]
    if wanted:
        side_by_side = min(len(wanted), threads)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(side_by_side, mp_context=spawn) as pool:
            each = max(1, threads // side_by_side)
            for done in [pool.submit(_run, job, at, each) for at in wanted]:
                done.result()
    return [job.path(at) for at in range(job.count)]


def mean(paths: Sequence[Path], data: Path) -> Network:
    """The network whose weights are the mean of the stored ones'."""
    states = [load_file(path) for path in paths]
    found = {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point()
        else value
        for name, value in states[0].items()
    }
    made = Network(0.0, len(corpus.intents(data)), found["pieces"].tolist())
    made.load_state_dict(found)
    return made.eval()


def part(job: Job) -> material.Material:
    """What the job may learn from; nothing that says the same as a held-out observation."""
    kept = material.load(job.data, job.splits)
    if "dev" in job.splits:
        return kept
    return material.without(kept, material.load(job.data, ("dev",)))


def _run(job: Job, at: int, threads: int) -> None:
    torch.set_num_threads(threads)
    seed = job.seed + at
    torch.manual_seed(seed)
    recipe = job.recipe
    made = network(job.work / "adapted.safetensors", job.data, recipe.dropout)
    pool = silver.Pool.load(job.work / job.silver, seed) if job.silver else None
    joint.fit(
        made,
        Epochs(part(job), recipe, seed, made.pieces.tolist()),
        recipe,
        rounds=recipe.epochs,
        shares=job.shares,
        encoder_rate=recipe.encoder_rate,
        words_too=False,
        name=f"{job.name} {at + 1} of {job.count}",
        pool=pool,
    )
    save(made.state_dict(), job.path(at))
