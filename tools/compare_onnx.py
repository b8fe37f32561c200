#!/usr/bin/env python3
"""Runs ONNX models in Lacuna and in ONNX Runtime on the same inputs and prints the largest relative difference, max|a-b| / max|b|, over all outputs.

    compare_onnx.py MODEL.onnx... [--lacuna build/release/lacuna] [--sizes batch=3 sequence=17] [--executor runtime reference] [--tolerance 1e-4]
                    [--whole]     also: inspect; prune to half and verify; convert back to .onnx, which ONNX Runtime must load and agree with
                    [--plain]     ONNX Runtime without its optimizer, which takes zero pads into max pools that then ignore them
                    [--codes]     a quantized model: within 2 % of the range, the same largest element of the last axis

Each model runs at every given set of sizes (default: all symbols 1, then batch 3 and sequence 17). Exit status 0 only if all agree. Needs numpy, onnx, onnxruntime.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime

TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8,
         "tensor(int8)": np.int8, "tensor(bool)": np.bool_}
onnxruntime.set_default_logger_severity(3)


def size_of(dim, axis, sizes, image):
    if isinstance(dim, int) and dim > 0:
        return dim
    name = str(dim)
    if name in sizes:
        return sizes[name]
    if axis == 0 or name == "batch":
        return sizes.get("batch", 1)
    return sizes.get("side", 64) if image else sizes.get("sequence", 8)


def feed_of(session, sizes):
    rng, feed = np.random.default_rng(0), {}
    for x in session.get_inputs():
        shape = [size_of(d, i, sizes, len(x.shape) == 4) for i, d in enumerate(x.shape)]
        dtype = TYPES[x.type]
        if "mask" in x.name:
            value = np.ones(shape, dtype)
            if shape[0] > 1:  # the last row is padded
                value[-1, (shape[-1] + 1) // 2:] = 0
        elif "type" in x.name:
            value = np.zeros(shape, dtype)
        elif np.issubdtype(dtype, np.floating):
            value = rng.standard_normal(shape).astype(dtype)
        else:
            value = rng.integers(2, 60, shape).astype(dtype)
        feed[x.name] = value
    return feed


class Comparison:
    def __init__(self, options):
        self.options, self.failures = options, []

    def lacuna(self, *arguments):
        run = subprocess.run([self.options.lacuna, *map(str, arguments)], capture_output=True, text=True)
        if run.returncode != 0:
            raise RuntimeError(f"lacuna {' '.join(map(str, arguments[:2]))}: {run.stderr.strip() or run.stdout.strip()}")
        return run.stdout

    def onnxruntime(self, model):
        options = onnxruntime.SessionOptions()
        if self.options.plain:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def outputs(self, model, feed, folder, executor):
        for name, value in feed.items():
            np.save(folder / f"{name.replace('/', '_')}.npy", value)
        self.lacuna("run", model, "--inputs", *(f"{n}={folder}/{n.replace('/', '_')}.npy" for n in feed), "--outputs", folder / "out", "--executor", executor, "--force")

    def difference(self, names, expected, folder):
        worst = 0.0
        for name, b in zip(names, expected):
            a = np.load(folder / "out" / (name.replace("/", "_").replace(":", "_") + ".npy"))
            if a.shape != b.shape:
                raise RuntimeError(f"output {name} has shape {a.shape}, wanted {b.shape}")
            if not b.size:
                continue
            a, b = a.astype(np.float64), b.astype(np.float64)
            if not np.array_equal(np.isnan(a), np.isnan(b)):
                raise RuntimeError(f"output {name} has {np.isnan(a).sum()} NaN, wanted {np.isnan(b).sum()}")
            finite = np.isfinite(b)
            if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
                raise RuntimeError(f"output {name}: infinities differ")
            if finite.any():
                worst = max(worst, np.abs(a - b)[finite].max() / max(np.abs(b[finite]).max(), 1e-9))
            if self.options.codes and b.ndim > 1 and not np.array_equal(a.argmax(-1), b.argmax(-1)):
                print(f"    output {name}: {np.mean(a.argmax(-1) == b.argmax(-1)):.1%} have the same largest element")
        return worst

    def check(self, what, worst):
        tolerance = 0.02 if self.options.codes else self.options.tolerance
        print(f"  {what}: {worst:.2g}{'' if worst <= tolerance else '  FAILED'}", flush=True)
        if not worst <= tolerance:
            self.failures.append(f"{self.model}: {what}: {worst:.3g}")

    def compare(self, model):
        self.model = model
        session = self.onnxruntime(model)
        names = [o.name for o in session.get_outputs()]
        for sizes in self.options.sizes or [{}, {"batch": 3, "sequence": 17}]:
            feed = feed_of(session, sizes)
            expected = session.run(names, feed)
            with tempfile.TemporaryDirectory() as folder:
                folder = pathlib.Path(folder)
                for executor in self.options.executor:
                    self.outputs(model, feed, folder, executor)
                    self.check(f"{executor} {[list(v.shape) for v in feed.values()]}", self.difference(names, expected, folder))
        if self.options.whole:
            self.whole(model, names, feed, expected)

    def whole(self, model, names, feed, expected):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            inspected = json.loads(self.lacuna("inspect", model, "--json"))
            claimed = [w for w in inspected.get("weights", []) if w.get("prunable")]
            print(f"  inspect: {len(inspected.get('weights', []))} weights, {len(claimed)} prunable; " + ", ".join(f"{n} {op}" for op, n in inspected["op_counts"].items()))
            self.lacuna("convert", model, "-o", folder / "back.onnx")
            back = self.onnxruntime(folder / "back.onnx")
            (folder / "out").mkdir()
            for name, value in zip(names, back.run(names, feed)):
                np.save(folder / "out" / (name.replace("/", "_").replace(":", "_") + ".npy"), value)
            self.check("converted, in ONNX Runtime", self.difference(names, expected, folder))
            if not claimed:
                return
            self.lacuna("prune", model, "-o", folder / "small", "--sparsity", "0.5")
            self.lacuna("verify", model, folder / "small")
            self.lacuna("convert", folder / "small", "-o", folder / "small.onnx")
            small = self.onnxruntime(folder / "small.onnx")
            self.outputs(folder / "small", feed, folder, "runtime")
            self.check("pruned, beside its conversion in ONNX Runtime", self.difference(names, small.run(names, feed), folder))


def sizes_of(text):
    return {k: int(v) for k, v in (pair.split("=") for pair in text.split(","))}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("models", nargs="+", type=pathlib.Path)
    arguments.add_argument("--lacuna", default=str(pathlib.Path(__file__).resolve().parents[1] / "build/release/lacuna"))
    arguments.add_argument("--sizes", nargs="*", type=sizes_of, metavar="NAME=N,NAME=N")
    arguments.add_argument("--executor", nargs="+", default=["runtime", "reference"])
    arguments.add_argument("--tolerance", type=float, default=1e-4)
    arguments.add_argument("--whole", action="store_true")
    arguments.add_argument("--plain", action="store_true")
    arguments.add_argument("--codes", action="store_true")
    options = arguments.parse_args()
    comparison = Comparison(options)
    for model in options.models:
        print(model, flush=True)
        try:
            comparison.compare(model)
        except Exception as e:
            print(f"  FAILED: {e}", flush=True)
            comparison.failures.append(f"{model}: {e}")
    print(f"{len(comparison.failures)} failures" + "".join(f"\n{f}" for f in comparison.failures))
    sys.exit(bool(comparison.failures))


if __name__ == "__main__":
    main()
