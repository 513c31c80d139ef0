"""The steps of the build: `python -m landfall_train [STEP…]`.

Each step writes one result into the work directory and is skipped when it is there; naming
steps runs just those, again. Work of another recipe is refused, not mixed in.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from . import calibrate as calibration
from . import card, classweights, corpus, encoder, folds, joint, labels, package, quantize, settings
from . import evaluate as evaluation

THREADS = int(os.environ.get("LANDFALL_THREADS", "2"))


class Build:
    """Work directory, recipe and data of one build."""

    def __init__(self) -> None:
        self.recipe = settings.recipe()
        self.data = settings.data_dir()
        self.work = settings.work_dir()
        self.work.mkdir(parents=True, exist_ok=True)
        self._claim()

    def _claim(self) -> None:
        path = self.work / "recipe"
        mark = self.recipe.fingerprint()
        if path.is_file() and path.read_text() != mark:
            raise SystemExit(
                f"error: {self.work} holds the work of another recipe\n"
                "remedy: remove it, or set LANDFALL_WORK to another directory"
            )
        path.write_text(mark)

    def path(self, name: str) -> Path:
        """A file of the work directory."""
        return self.work / name

    def material(self) -> joint.Material:
        """All training data, weighted as chosen."""
        observations = corpus.failure_modes(self.data, "train")
        power = json.loads(self.path("class-weights.json").read_text())["power"]
        return joint.Material(
            observations=observations,
            orders=corpus.work_orders(self.data, "train"),
            excavator=corpus.excavator_orders(self.data),
            chat=corpus.chat(self.data, "train"),
            spellings=corpus.spellings(self.data),
            class_weights=classweights.weights(observations, power),
        )

    def model(self, name: str) -> quantize.Model:
        """The quantized form of trained weights."""
        return quantize.model(load_file(self.path(name)), settings.TOKENS_MAX)


def class_weights(build: Build) -> None:
    """Choose the class weights of the failure-mode loss."""
    chosen = classweights.choose(corpus.failure_modes(build.data, "train"), build.recipe.seed)
    for score in chosen["scores"]:
        print("  frequency ^ {power}: accuracy {accuracy:.3f}".format(**score), file=sys.stderr)
    _write(build.path("class-weights.json"), json.dumps(chosen, indent=2))


def train(build: Build) -> None:
    """Train the network that ships, on all training data."""
    network = joint.train(build.material(), build.recipe, build.recipe.seed, "all")
    save_file(network.state_dict(), build.path("network.part"))
    build.path("network.part").rename(build.path("network.safetensors"))


def fold(number: int) -> Callable[[Build], None]:
    """The step of one fold: train without it, answer about it."""

    def step(build: Build) -> None:
        recipe = build.recipe
        kept, held = folds.split(build.material(), recipe.folds, number, recipe.seed)
        name = f"fold {number + 1}/{recipe.folds}"
        network = joint.train(kept, recipe, recipe.seed + 100 + number, name)
        state = {key: value.numpy() for key, value in network.state_dict().items()}
        model = quantize.model(state, settings.TOKENS_MAX)
        answers = folds.held_out_answers(model, held, recipe.seed)
        part = build.path(f"fold-{number}.part")
        with part.open("wb") as file:
            np.savez_compressed(file, **answers)
        part.rename(build.path(f"fold-{number}.npz"))

    step.__doc__ = f"Cross-validate: train without fold {number + 1}, answer about it."
    return step


def calibrate(build: Build) -> None:
    """Temperatures, scores and the familiarity limit, from the folds."""
    recipe = build.recipe
    answers = []
    for number in range(settings.folds_answered(recipe)):
        with np.load(build.path(f"fold-{number}.npz")) as stored:
            answers.append(dict(stored))
    parts = {
        "failure-mode": calibration.failure_mode(answers, recipe.unfamiliar_share),
        "work-order-fields": calibration.work_order_fields(answers),
    }
    result = {
        "content": {task: part.content for task, part in parts.items()},
        "summary": {task: part.summary for task, part in parts.items()},
    }
    _write(build.path("calibration.json"), json.dumps(result))


def evaluate(build: Build) -> None:
    """Score the network, in float and in int8, on development text and the frozen sets."""
    measured = json.loads(build.path("calibration.json").read_text())
    limit = measured["content"]["failure-mode"]["familiarity_min"]
    network = encoder.Network(0.0)
    state = load_file(build.path("network.safetensors"))
    network.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    in_float = evaluation.FloatAnswers(network)
    in_int8 = folds.Answers(build.model("network.safetensors"))
    observations = corpus.failure_modes(build.data, "train")
    rows = Counter(labels.FAILURE_MODES[row.label] for row in observations)
    seed = build.recipe.seed
    report = {
        "folds": build.recipe.folds,
        "folds_answered": settings.folds_answered(build.recipe),
        "familiarity_min": limit,
        "training_rows": {label: rows[label] for label in labels.FAILURE_MODES},
        "out_of_fold": measured["summary"],
        "float": evaluation.development(in_float, build.data, limit, seed),
        "int8": evaluation.development(in_int8, build.data, limit, seed),
        "own_float": evaluation.own(in_float, limit),
        "own_int8": evaluation.own(in_int8, limit),
    }
    text = json.dumps(report, indent=2, ensure_ascii=False)
    _write(build.path("report.json"), text)
    print(text)


def pack(build: Build) -> None:
    """Write the package directory and its card, unsigned."""
    measured = json.loads(build.path("calibration.json").read_text())
    report = json.loads(build.path("report.json").read_text())
    out_of_fold = measured["summary"]
    mode, fields = report["int8"]["failure-mode"], report["int8"]["work-order-fields"]
    metrics = {
        "failure-mode": {
            "split": "failure_modes dev, bare observations",
            **_rounded(mode["bare"]),
            "out_of_fold_accuracy": round(out_of_fold["failure-mode"]["accuracy_bare"], 4),
            "out_of_fold_n": out_of_fold["failure-mode"]["n"],
        },
        "work-order-fields": {
            "split": "work_order_ner dev, annotator agreement 0.5 and more",
            "micro_f1": round(fields["micro_f1"], 4),
            "n": fields["n"],
        },
    }
    directory = settings.package_dir()
    model = build.model("network.safetensors")
    manifest = package.write(directory, model, measured["content"], metrics)
    (directory / "CARD.md").write_text(card.card(report, manifest), encoding="utf-8")
    digest = hashlib.sha256((directory / "manifest.json").read_bytes()).hexdigest()
    _write(build.path("packed"), digest)
    print(f"  {directory}: manifest {digest}", file=sys.stderr)


def _rounded(part: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in part.items()}


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.rename(path)


def _steps(recipe: settings.Recipe) -> dict[str, tuple[str, Callable[[Build], None]]]:
    """Step name -> its result in the work directory, and what makes it."""
    cross = {f"fold-{n}": (f"fold-{n}.npz", fold(n)) for n in range(settings.folds_answered(recipe))}
    return {
        "class-weights": ("class-weights.json", class_weights),
        "train": ("network.safetensors", train),
        **cross,
        "calibrate": ("calibration.json", calibrate),
        "evaluate": ("report.json", evaluate),
        "pack": ("packed", pack),
    }


def main() -> None:
    """Runs the named steps, or all that have no result yet."""
    steps = _steps(settings.recipe())
    parser = argparse.ArgumentParser(prog="landfall_train", description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(steps))
    named = parser.parse_args().steps
    unknown = [name for name in named if name not in steps]
    if unknown:
        parser.error(f"no step {unknown[0]!r}; the steps are {', '.join(steps)}")
    torch.set_num_threads(THREADS)
    build = Build()
    for name, (result, step) in steps.items():
        if name not in named if named else build.path(result).exists():
            continue
        print(f"{name}: {(step.__doc__ or '').strip()}", file=sys.stderr, flush=True)
        started = time.monotonic()
        try:
            step(build)
        except corpus.DataError as error:
            raise SystemExit(f"error: {error}") from error
        print(f"{name}: done in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
