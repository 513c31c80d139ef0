"""The steps of the build: `python -m landfall_train [--task TASK] [STEP…]`.

Each step writes one result into the work directory and is skipped when it is there; naming
steps runs just those, again. Work of another recipe is refused, not mixed in.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import answers, ask, bio, card, corpus, evaluate, familiarity, held, joint, material, package
from . import quantize, runs, settings, silver
from .examples import Epochs
from .labels import REDACT
from .network import LABEL_TASKS, SPELL_TASK, TASKS, Network

# In the order of their seeds.
JOBS = ("teach", "hold", "train")
THREADS = int(os.environ.get("LANDFALL_THREADS", "2"))


class Build:
    """Work directory, recipe, data and tasks of one build."""

    def __init__(self, tasks: tuple[str, ...]) -> None:
        self.tasks = tasks
        self.is_whole = tasks == TASKS
        self.recipe = settings.recipe()
        self.data = settings.data_dir()
        self.work = settings.work_dir(None if self.is_whole else tasks[0])
        self.work.mkdir(parents=True, exist_ok=True)
        self._claim()

    def _claim(self) -> None:
        path, mark = self.path("recipe"), self.recipe.fingerprint()
        if path.is_file() and path.read_text() != mark:
            raise SystemExit(
                f"error: {self.work} holds the work of another recipe\n"
                "remedy: remove it, or set LANDFALL_WORK to another directory"
            )
        path.write_text(mark)

    def path(self, name: str) -> Path:
        """A file of the work directory."""
        return self.work / name

    def shares(self, of: dict[str, float]) -> dict[str, float]:
        """Those of the tasks that are built, and of what all are trained with."""
        return {task: s for task, s in of.items() if s and task in (*self.tasks, SPELL_TASK)}

    def network(self, file: str) -> Network:
        """A stored network."""
        return runs.network(self.path(file), self.data)

    def job(self, name: str, *, is_held: bool, silver: str | None) -> runs.Job:
        """Runs from the adapted network."""
        recipe = self.recipe
        return runs.Job(
            name=name,
            recipe=recipe,
            shares=self.shares(recipe.held_shares if is_held else recipe.shares),
            splits=("train",) if is_held else ("train", "dev"),
            data=self.data,
            work=self.work,
            seed=recipe.seed + 101 + 100 * JOBS.index(name),
            count=1 if is_held else recipe.runs,
            silver=silver,
        )

    @property
    def silver(self) -> str | None:
        """The file of silver examples, where a task is built that has any."""
        return "silver.npz" if any(task in ask.SMALL for task in self.tasks) else None

    def ask_both(
        self, network: Network, name: str, asked: Callable[[answers.AnyAnswers], ask.Parts]
    ) -> None:
        """Stores what a network says in device arithmetic, and in float before it."""
        held.store(self.path(f"{name}-float.npz"), asked(answers.FloatAnswers(network)))
        held.store(self.path(f"{name}.npz"), asked(answers.Answers(quantized(network))))


def quantized(network: Network) -> quantize.Model:
    """The int8 form of a network."""
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    return quantize.model(state, settings.TOKENS_MAX)


def adapt(build: Build) -> None:
    """Make the encoder familiar with the field: requests, masks, and how words are spelt."""
    recipe = build.recipe
    torch.manual_seed(recipe.seed)
    epochs = Epochs(material.load(build.data), recipe, recipe.seed)
    network = Network(recipe.dropout, len(corpus.intents(build.data)), epochs.pieces)
    joint.fit(
        network,
        epochs,
        recipe,
        rounds=recipe.adapt_epochs,
        shares=build.shares(recipe.adapt_shares),
        encoder_rate=recipe.adapt_rate,
        words_too=True,
        name="adapt",
    )
    runs.save(network.state_dict(), build.path("adapted.safetensors"))


def teach(build: Build) -> None:
    """Train teachers without the development splits, and label silver text with them."""
    job = build.job("teach", is_held=True, silver=None)
    paths = runs.run_all(job, THREADS)
    teachers = [runs.network(path, build.data).eval() for path in paths]
    words_max = build.recipe.span_words_max
    held_out = {row.text for row in material.load(build.data, ("dev",)).observations}
    said = silver.made(runs.part(job), held_out, teachers, build.tasks, words_max)
    silver.store(build.path("silver.npz"), said)


def hold(build: Build) -> None:
    """Train without the development splits of the small sets, and answer about them."""
    recipe = build.recipe
    paths = runs.run_all(build.job("hold", is_held=True, silver=build.silver), THREADS)
    network = runs.mean(paths, build.data)
    part = material.load(build.data, ("dev",))
    build.ask_both(
        network, "held", lambda by: ask.small(by, part, build.data, recipe, build.tasks)
    )


def train(build: Build) -> None:
    """Train the networks whose mean ships, on all training data."""
    recipe = build.recipe
    paths = runs.run_all(build.job("train", is_held=False, silver=build.silver), THREADS)
    network = runs.mean(paths, build.data)
    with torch.no_grad():
        identifier = REDACT.index("identifier")
        tags = [bio.begin(identifier), bio.inside(identifier)]
        network.heads["redact"].tag.bias[tags] += recipe.identifier_lean
    runs.save(network.state_dict(), build.path("network.safetensors"))


def fixed(build: Build) -> None:
    """Ask the network that ships about the validation parts it was not trained on."""
    network = build.network("network.safetensors")
    build.ask_both(network, "fixed", lambda by: ask.large(by, build.data, build.tasks))


def pack(build: Build) -> None:
    """Calibrate, report, and write the package with its card, unsigned."""
    calibrations, report = {}, {}
    stored = {
        name: held.load(build.path(f"{name}.npz"))
        for name in ("held", "held-float", "fixed", "fixed-float")
        if build.path(f"{name}.npz").exists()
    }
    for task in build.tasks:
        source = "held" if task in ask.SMALL else "fixed"
        of, of_float = stored[source], stored[f"{source}-float"]
        made = evaluate.calibrated(task, of, build.recipe)
        calibrations[task] = made
        report[task] = {
            "int8": evaluate.scores(task, of),
            "float": evaluate.scores(task, of_float),
            "calibration": {**made.summary, "reliability": made.content["reliability"]},
        }
        if task in LABEL_TASKS:
            report[task]["rejection"] = evaluate.rejection(task, of, made)
    model = quantized(build.network("network.safetensors"))
    _ship_centroids(build, model, calibrations)
    directory = settings.package_dir(None if build.is_whole else build.tasks[0])
    manifest = package.write(directory, model, calibrations, report, build.tasks)
    (directory / "CARD.md").write_text(card.card(report, manifest), encoding="utf-8")
    text = json.dumps(report, indent=2, ensure_ascii=False)
    _write(build.path("report.json"), text)
    print(f"  {directory}: {manifest['name']} {manifest['version']}", file=sys.stderr)


def _ship_centroids(build: Build, model: quantize.Model, calibrations: dict[str, Any]) -> None:
    """Where distance was chosen: the means in the shipped network's space, not in the held one's."""
    made = calibrations.get("failure-mode")
    if made is None or made.score != "cosine":
        return
    rows = held.bare(material.load(build.data).observations)
    asked = held.Labels.ask(answers.Answers(model), "failure-mode", rows)
    count = len(evaluate.names("failure-mode"))
    means = familiarity.centroids(asked.judged.pooled, asked.truth, count)
    calibrations["failure-mode"] = replace(made, centroids=means)


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.rename(path)


def _steps(build: Build) -> dict[str, tuple[str, Callable[[Build], None]]]:
    """Step name -> its result in the work directory, and what makes it."""
    small = any(task in ask.SMALL for task in build.tasks)
    large = any(task not in ask.SMALL for task in build.tasks)
    return {
        "adapt": ("adapted.safetensors", adapt),
        **({"teach": ("silver.npz", teach), "hold": ("held.npz", hold)} if small else {}),
        "train": ("network.safetensors", train),
        **({"fixed": ("fixed.npz", fixed)} if large else {}),
        "pack": ("report.json", pack),
    }


def main() -> None:
    """Runs the named steps from their beginning, or all that have no result yet."""
    parser = argparse.ArgumentParser(prog="landfall_train", description=__doc__)
    parser.add_argument("--task", choices=TASKS, help="a package of this task alone")
    parser.add_argument("steps", nargs="*", metavar="STEP")
    named = parser.parse_args()
    torch.set_num_threads(THREADS)
    np.seterr(all="raise", under="ignore")
    build = Build((named.task,) if named.task else TASKS)
    steps = _steps(build)
    unknown = [name for name in named.steps if name not in steps]
    if unknown:
        parser.error(f"no step {unknown[0]!r}; the steps are {', '.join(steps)}")
    for name, (result, step) in steps.items():
        if name not in named.steps if named.steps else build.path(result).exists():
            continue
        print(f"{name}: {(step.__doc__ or '').strip()}", file=sys.stderr, flush=True)
        if named.steps:
            for run in build.work.glob(f"{name}-*.safetensors"):
                run.unlink()
        started = time.monotonic()
        try:
            step(build)
        except corpus.DataError as error:
            raise SystemExit(f"error: {error}") from error
        print(f"{name}: done in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
