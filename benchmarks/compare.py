#!/usr/bin/env python3
"""Times Lacuna beside other engines on the same models and prints the table of docs/performance.md. Run it through run.sh.

Rounds are interleaved: in each round every contender times every model of a row once, in a process of its own, in an order that rotates.
A cell is the median over the rounds, in milliseconds (decoders: tokens per second); "x" columns are medians of the ratios of a round.
Sparse models are made by `lacuna prune` (magnitude, unstructured, uniform) and handed to the others by `lacuna convert`.
At int8 the others read the QDQ file that ONNX Runtime's static quantizer makes of the same weights; so does Lacuna for convolutional models, while
it runs transformers as `lacuna quantize --activations int8` writes them (scales per token).
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SHORT = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO f32", "openvino-bf16": "OpenVINO bf16", "deepsparse": "DeepSparse", "llama.cpp": "llama.cpp",
         "transformers": "transformers"}


def run(command, quiet=False):
    """Standard output, or None if the command fails and may."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        return done.stdout
    if quiet:
        return None
    sys.exit(f"{' '.join(map(str, command))}\nfailed: {done.stderr.strip()[-2000:]}")


class Models:
    """Dense models, and the pruned ones next to them as Lacuna directories and as files for the others."""

    def __init__(self, a):
        self.folder, self.lacuna, self.python, self.gguf = a.models, a.lacuna, a.python["onnxruntime"], a.gguf

    def dense(self, name):
        if name == "smollm2":
            return self.gguf
        if name.endswith(".onnx"):
            return pathlib.Path(name)
        path = self.folder / f"{name}.onnx"
        if not path.exists():
            run([self.python, HERE / "models.py", self.folder, name])
        return path

    def of(self, name, sparsity, precision):
        """What Lacuna reads, what the others read."""
        dense = self.dense(name)
        pruned = self.folder / f"{pathlib.Path(name).stem}-{round(sparsity * 100)}"
        exported = pruned.with_name(pruned.name + dense.suffix)
        if sparsity == 0:
            pruned = exported = dense
        elif not pruned.exists():
            run([self.lacuna, "prune", dense, "-o", pruned, "--sparsity", sparsity])
        if not exported.exists():
            run([self.lacuna, "convert", pruned, "-o", exported])
        return self.int8_of(pruned, exported) if precision == "int8" else (pruned, exported)

    def int8_of(self, ours, theirs):
        qdq = self.folder / f"{theirs.stem}-int8.onnx"
        if not qdq.exists():
            run([self.python, HERE / "models.py", "--quantize", theirs, qdq])
        if theirs.stem.split("-")[0] not in ("bert", "minilm"):
            return qdq, qdq
        quantized = self.folder / f"{theirs.stem}-int8"
        if not quantized.exists():
            run([self.lacuna, "quantize", ours, "-o", quantized, "--weights", "int8", "--activations", "int8"])
        return quantized, qdq


def time_lacuna(a, model, batch, decoder):
    command = [a.lacuna, "bench", model, "--batch", batch, "--threads", a.threads, "--runs", a.runs, "--precision", "own", "--json"]
    if decoder:
        command += ["--prompt-tokens", a.prompt, "--new-tokens", a.new]
    rows = json.loads(run(command))["rows"]
    return {row["phase"]: (row["median_ms"], row["versus_median_ms"]) for row in rows}


def time_peer(a, engine, model, batch):
    command = [a.python[engine], HERE / "peer.py", engine, model, "--batch", batch, "--threads", a.threads, "--runs", a.runs, "--prompt", a.prompt, "--new", a.new]
    printed = run(command, quiet=True)
    return json.loads(printed.strip().splitlines()[-1]) if printed else None


def measure(a, models, name, sparsity, batch, precision):
    """{phase: {contender: [milliseconds per round]}}"""
    decoder = name == "smollm2"
    ours, theirs = models.of(name, sparsity, precision)
    engines = [e for e in (["llama.cpp", "transformers"] if decoder else ["onnxruntime", "openvino", "openvino-bf16", "deepsparse"]) if e in a.python]
    if batch != 1 and decoder:
        engines.remove("llama.cpp")
    contenders, times = ["lacuna", *engines], {}
    for turn in range(a.rounds):
        for contender in contenders[turn % len(contenders):] + contenders[: turn % len(contenders)]:
            if contender == "lacuna":
                for phase, (sparse, dense) in time_lacuna(a, ours, batch, decoder).items():
                    times.setdefault(phase, {}).setdefault("lacuna", []).append(sparse)
                    times[phase].setdefault("dense", []).append(dense)
            elif found := time_peer(a, contender, theirs, batch):
                for phase, ms in found.items():
                    times.setdefault(phase, {}).setdefault(contender, []).append(ms)
    return times


def cell(a, phase, ms):
    tokens = {"prefill": a.prompt, "decode": a.new}.get(phase)
    return f"{ms:.2f}" if tokens is None else f"{tokens / ms * 1e3:.0f}"


def lines(a, name, sparsity, batch, precision, times):
    for phase, by in times.items():
        peers = [c for c in by if c not in ("lacuna", "dense")]
        what = pathlib.Path(name).stem + (" int8" if precision == "int8" else "") + ("" if phase == "run" else f" {phase}, tokens/s")
        out = [what, f"{round(sparsity * 100)} %", str(batch), cell(a, phase, statistics.median(by["lacuna"]))]
        out.append(cell(a, phase, statistics.median(by["dense"])) if sparsity else "")
        for engine in a.columns:
            if engine not in peers:
                out.append("")
                continue
            ratio = statistics.median(p / l for p, l in zip(by[engine], by["lacuna"]))
            out.append(f"{cell(a, phase, statistics.median(by[engine]))} ({ratio:.2f}x)")
        yield out


def print_header(a):
    header = ["model", "zeros", "batch", "Lacuna", "Lacuna, all dense", *(SHORT[e] for e in a.columns)]
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}", flush=True)


def print_row(a, name, sparsity, batch, precision, times):
    for line in lines(a, name, sparsity, batch, precision, times):
        print(f"| {' | '.join(line)} |", flush=True)


def read_rows(files):
    """The rows of several runs, the rounds of equal ones one after another."""
    rows = {}
    for file in files:
        for row in json.loads(file.read_text())["rows"]:
            times = rows.setdefault((row["model"], row["sparsity"], row["batch"], row["precision"]), {})
            for phase, by in row["ms"].items():
                for contender, ms in by.items():
                    times.setdefault(phase, {}).setdefault(contender, []).extend(ms)
    return rows


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "unknown CPU"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["resnet50", "bert", "minilm", "smollm2"], help="resnet50 bert minilm smollm2, or a dense .onnx file")
    parser.add_argument("--sparsity", nargs="+", type=float, default=[0, 0.5, 0.7, 0.8, 0.9, 0.95])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 16], help="decoders run at 1")
    parser.add_argument("--precision", nargs="+", choices=["f32", "int8"], default=["f32", "int8"], help="smollm2 runs as its file is")
    for flag, default in (("threads", os.cpu_count()), ("rounds", 5), ("runs", 10), ("prompt", 256), ("new", 32)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    parser.add_argument("--lacuna", type=pathlib.Path, default=HERE.parent / "build/release/lacuna")
    parser.add_argument("--models", type=pathlib.Path, required=True, help="folder for the models that are made")
    parser.add_argument("--gguf", type=pathlib.Path, help="SmolLM2.gguf of ./dev models")
    parser.add_argument("--python", nargs="+", required=True, help="ENGINE=PYTHON: the interpreter that has the engine")
    parser.add_argument("--json", type=pathlib.Path, help="every single time, to this file")
    parser.add_argument("--tables", nargs="+", type=pathlib.Path, help="time nothing: the table of such files, rounds of a row put together")
    parser.add_argument("--prepare", action="store_true", help="only make the models")
    a = parser.parse_args()
    a.python = dict(p.split("=", 1) for p in a.python)
    wanted = {"llama.cpp", "transformers"} if a.only == ["smollm2"] else set(SHORT) - {"llama.cpp", "transformers"} if "smollm2" not in a.only else set(SHORT)
    a.columns = [e for e in SHORT if e in a.python and e in wanted]
    if a.tables:
        print_header(a)
        for (name, sparsity, batch, precision), times in read_rows(a.tables).items():
            print_row(a, name, sparsity, batch, precision, times)
        return
    models, results = Models(a), []
    if "smollm2" in a.only and not (a.gguf and a.gguf.exists()):
        print("smollm2 left out: no SmolLM2.gguf (./dev models makes it)", file=sys.stderr)
        a.only.remove("smollm2")
    rows = [(n, s, b, p) for n in a.only for p in a.precision for b in a.batch for s in a.sparsity if n != "smollm2" or (b, p) == (1, "f32")]
    for name, sparsity, _, precision in rows:
        models.of(name, sparsity, precision)
    if a.prepare:
        return
    print(f"{cpu_name()}, {a.threads} threads, {a.rounds} interleaved rounds of {a.runs} runs.\n")
    print_header(a)
    for name, sparsity, batch, precision in rows:
        times = measure(a, models, name, sparsity, batch, precision)
        results.append({"model": name, "sparsity": sparsity, "batch": batch, "precision": precision, "ms": times})
        print_row(a, name, sparsity, batch, precision, times)
        if a.json:
            a.json.write_text(json.dumps({"cpu": cpu_name(), "threads": a.threads, "rows": results}, indent=1))


if __name__ == "__main__":
    main()
