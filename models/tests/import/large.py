"""Imports a random model of half a billion parameters and measures it.

    cargo build --release --bin landfall-models
    python models/tests/import/large.py [--tool target/release/landfall-models] [--keep DIR]

Needs NumPy, 5 GB of disk and some minutes. The model has the shape of DeBERTa-v3: 24 layers, 1,280
wide, relative attention, weights in fp32, written in shards. It prints the memory and time of the
import, the size of the package, and memory and latency of a decision at 16, 32 and 128 pieces.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
WIDTH, INNER, LAYERS, HEADS, WORDS = 1280, 5120, 24, 20, 32_000
# Initial weights of transformers; a larger last layer, so that answers differ.
STD, LAST_STD = 0.02, 0.2
LABELS = ["Leaking", "Noise", "Overheating"]
PIECES = (16, 32, 128)


def tensors() -> list[dict[str, tuple[int, ...]]]:
    """Names and shapes, one shard after the other."""
    norm = {"LayerNorm.weight": (WIDTH,), "LayerNorm.bias": (WIDTH,)}

    def named(prefix: str, entries: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        return {f"{prefix}.{name}": shape for name, shape in entries.items()}

    def linear(outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (outputs, inputs), "bias": (outputs,)}

    first = {
        "deberta.embeddings.word_embeddings.weight": (WORDS, WIDTH),
        "deberta.encoder.rel_embeddings.weight": (512, WIDTH),
        **named("deberta.embeddings", norm),
        **named("deberta.encoder", norm),
        **named("pooler.dense", linear(WIDTH, WIDTH)),
        **named("classifier", linear(len(LABELS), WIDTH)),
    }
    shards = [first]
    for layer in range(LAYERS):
        name = f"deberta.encoder.layer.{layer}"
        entries = {}
        for part in ("query_proj", "key_proj", "value_proj"):
            entries |= named(f"{name}.attention.self.{part}", linear(WIDTH, WIDTH))
        entries |= named(f"{name}.attention.output.dense", linear(WIDTH, WIDTH))
        entries |= named(f"{name}.attention.output", norm)
        entries |= named(f"{name}.intermediate.dense", linear(INNER, WIDTH))
        entries |= named(f"{name}.output.dense", linear(WIDTH, INNER))
        entries |= named(f"{name}.output", norm)
        shards.append(entries)
    return shards


def values(name: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    if name.endswith("LayerNorm.weight"):
        return np.ones(shape, np.float32)
    if name.endswith("bias"):
        return np.zeros(shape, np.float32)
    std = LAST_STD if name.startswith("classifier") else STD
    return random.standard_normal(shape, np.float32) * np.float32(std)


def write_shard(
    path: Path, entries: dict[str, tuple[int, ...]], random: np.random.Generator
) -> int:
    """Writes one file; returns how many numbers it has."""
    header, at = {}, 0
    for name, shape in entries.items():
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with path.open("wb") as out:
        out.write(struct.pack("<Q", len(text)))
        out.write(text)
        for name, shape in entries.items():
            out.write(values(name, shape, random).tobytes())
    return at // 4


def write_model(home: Path) -> int:
    """Writes the model; returns how many parameters it has."""
    home.mkdir(parents=True)
    random = np.random.default_rng(0)
    index, parameters = {}, 0
    for at, entries in enumerate(tensors()):
        file = f"model-{at:05d}.safetensors"
        parameters += write_shard(home / file, entries, random)
        index |= dict.fromkeys(entries, file)
    (home / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    config = json.loads((HERE / "deberta-v3-sequence" / "config.json").read_text())
    config |= {
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "pooler_hidden_size": WIDTH,
        "vocab_size": WORDS,
        "max_position_embeddings": 512,
        "position_buckets": 256,
    }
    (home / "config.json").write_text(json.dumps(config))
    tokenizer = (HERE / "deberta-v3-sequence" / "tokenizer.json").read_text()
    (home / "tokenizer.json").write_text(tokenizer)
    return parameters


def write_data(path: Path) -> None:
    words = "pump leak oil valve hot noise motor seal bearing check".split()
    random = np.random.default_rng(1)
    with path.open("w") as out:
        for at in range(60):
            text = " ".join(random.choice(words, size=int(random.integers(2, 8))))
            row = {"text": f"{text} {words[at % 10]} {words[at // 10]}", "label": LABELS[at % 3]}
            out.write(json.dumps(row) + "\n")


def run(tool: Path, *arguments: object) -> str:
    command = [str(tool), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed")
    return done.stdout


def measure(tool: Path, home: Path) -> None:
    parameters = write_model(home / "model")
    write_data(home / "data.jsonl")
    run(tool, "keygen", home / "site")
    imported = json.loads(
        run(tool, "import", home / "model", "--data", home / "data.jsonl", "--out",
            home / "package", "--licence", "MIT", "--key", home / "site.key", "--json")
    )
    print(f"parameters      {parameters / 1e6:.0f} million")
    print(f"import          {imported['seconds']:.0f} s, "
          f"memory at its peak {imported['memory_peak_kb'] / 1024:.0f} MB")
    print(f"package         {imported['bytes'] / 1e6:.0f} MB")
    bench = json.loads(run(tool, "bench", home / "package", "--trust", home / "site.pub", "--json"))
    print(f"load            {bench['load_ms']:.0f} ms")
    for length in bench["lengths"]:
        if length["pieces"] in PIECES:
            print(f"{length['pieces']:3} pieces      {length['median_ms']:.1f} ms (median), "
                  f"{length['p99_ms']:.1f} ms (99th percentile)")
    print(f"memory          {bench['rss_kb'] / 1024:.0f} MB, "
          f"at its peak {bench['rss_peak_kb'] / 1024:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tool", type=Path, default=Path("target/release/landfall-models"))
    parser.add_argument("--keep", type=Path, help="a new directory that is kept")
    arguments = parser.parse_args()
    if arguments.keep:
        measure(arguments.tool.resolve(), arguments.keep.resolve())
        return
    with tempfile.TemporaryDirectory() as home:
        measure(arguments.tool.resolve(), Path(home))


if __name__ == "__main__":
    main()
