"""Times encoders of several engines in turns, and writes what came of it.

Called by `compare`, which builds what this needs. Every engine runs the same encoder with the
same int8 weights (`graphs.py`), one text at a time, on one thread and one processor. Engines take
turns, a few runs each, so that whatever else the machine does hits all of them alike; the 10th
percentile of each is what is compared.
"""

import argparse
import ctypes
import json
import os
from pathlib import Path
import subprocess
import sys
import time

import numpy as np
import onnxruntime

import graphs

LENGTHS = (16, 32, 64, 128)
# Turns for each length, runs in each, of which the first only warms the caches up.
ROUNDS, RUNS = 60, 5
# What our engine is held against; the faster one of each length counts.
REFERENCES = ("ONNX Runtime int8, plain operators", "ONNX Runtime int8, fused operators")
OURS = "landfall"


class Served:
    """An engine in a process of its own that reads `PIECES RUNS` and writes microseconds."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, pieces, runs):
        self.process.stdin.write(f"{pieces} {runs}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"error: {self.process.args[0]} ended with {self.process.wait()}")
        return json.loads(line)


class OnnxRuntime:
    """ONNX Runtime in this process, on one thread, with all its optimisations."""

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def run(self, pieces, runs):
        ids = {"input_ids": np.arange(1000, 1000 + pieces, dtype=np.int64)[None]}
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            self.session.run(None, ids)
            times.append((time.perf_counter() - start) * 1e6)
        return times


class Peak:
    """The machine's int8 peak, measured in turns with the rest; in multiply-adds a second."""

    ROUNDS = 20_000

    def __init__(self, library, vnni):
        library = ctypes.CDLL(library)
        self.work = library.peak_vnni if vnni else library.peak_avx2
        self.work.argtypes, self.work.restype = [ctypes.c_long], ctypes.c_double
        self.rates = []

    def run(self):
        start = time.perf_counter()
        done = self.work(self.ROUNDS)
        self.rates.append(done / (time.perf_counter() - start))


def instructions():
    """What this process may use, as the processor tells it: the mask works on this, too."""
    probe = "import onnxruntime" and Path("/proc/cpuinfo").read_text().split()
    masked = "cpumask" in os.environ.get("LD_PRELOAD", "")
    return "AVX2" if masked or "avx512_vnni" not in probe else "AVX-512 VNNI"


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def multiply_adds(encoder):
    """Of the integer products, for each word piece."""
    return sum(
        int(np.prod(item.dims))
        for item in encoder.initializer
        if item.name.endswith("weight_q")
    )


def measure(engines, peak):
    """The 10th percentile of each engine and length, in milliseconds."""
    tenth = {}
    for pieces in LENGTHS:
        times = {name: [] for name in engines}
        for at in range(ROUNDS):
            for name, engine in engines.items():
                times[name] += engine.run(pieces, RUNS)[1:]
            peak.run()
            print(f"\r{pieces} pieces, round {at + 1} of {ROUNDS}\033[K", end="", file=sys.stderr)
        for name in engines:
            tenth[name, pieces] = float(np.percentile(times[name], 10)) / 1e3
    print("\r\033[K", end="", file=sys.stderr)
    return tenth


def report(engines, tenth, peak, work):
    rate = float(np.percentile(peak.rates, 90))
    reference = {n: min(tenth[name, n] for name in REFERENCES) for n in LENGTHS}
    lines = ["| ms, 10th percentile | " + " | ".join(f"{n} pieces" for n in LENGTHS) + " |"]
    lines.append("|---" * (1 + len(LENGTHS)) + "|")
    for name in engines:
        row = " | ".join(f"{tenth[name, n]:.2f}" for n in LENGTHS)
        lines.append(f"| {name} | {row} |")
    ratios = {n: tenth[OURS, n] / reference[n] for n in LENGTHS}
    row = " | ".join(f"**{ratios[n]:.2f}**" for n in LENGTHS)
    lines.append(f"| landfall / the faster ONNX Runtime int8 | {row} |")
    shares = (work * n / (tenth[OURS, n] / 1e3) / rate for n in LENGTHS)
    row = " | ".join(f"{share:.0%}" for share in shares)
    lines.append(f"| share of the int8 peak, {rate / 1e9:.0f} G multiply-adds/s | {row} |")
    return "\n".join(lines), ratios


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--tool", type=Path, required=True, help="landfall-models")
    parser.add_argument("--rten", type=Path, help="the program of rten/")
    parser.add_argument("--libraries", type=Path, required=True, help="where peak.so is")
    parser.add_argument("--work", type=Path, required=True, help="a folder for graphs")
    parser.add_argument("--ratio-max", type=float, required=True)
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    paths = graphs.write(args.encoder, args.work)
    serve = lambda path: Served([args.tool, "bench", "--encoder", path])
    engines = {
        OURS: serve(args.encoder),
        REFERENCES[0]: OnnxRuntime(paths["plain-int8"]),
        REFERENCES[1]: OnnxRuntime(paths["fused-int8"]),
    }
    if args.rten:
        engines["rten int8"] = Served([args.rten, paths["plain-int8"]])
    engines["ONNX Runtime fp32"] = OnnxRuntime(paths["fp32"])
    engines["tract fp32"] = serve(paths["fp32"])
    vnni = instructions() == "AVX-512 VNNI"
    peak = Peak(str(args.libraries / "peak.so"), vnni)
    work = multiply_adds(graphs.onnx.load(args.encoder).graph)
    tenth = measure(engines, peak)
    table, ratios = report(engines, tenth, peak, work)
    print(f"## {instructions()}\n\n{processor()}, ONNX Runtime {onnxruntime.__version__}\n")
    print(table)
    if max(ratios.values()) > args.ratio_max:
        sys.exit(f"error: a ratio is above {args.ratio_max}")


if __name__ == "__main__":
    main()
