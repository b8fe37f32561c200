#!/usr/bin/env python3
"""Times one model in one other engine: peer.py ENGINE MODEL [--batch N] [--threads N] [--runs N]; prints one line of JSON.

Engines of ONNX files: onnxruntime, openvino (at f32), openvino-bf16 (what it does by default where there is AMX), deepsparse.
Engines of GGUF files: llama.cpp, transformers (weights dequantized to f32); they print the prefill and the decoding of a token.
Inputs are random ids, masks of ones and normally distributed floats. One thread pool of the size asked for, two runs to warm up.
"""
import argparse
import json
import os
import shutil
import tempfile
import time

import numpy as np


def feeds(path, batch, tokens=128, seed=0):
    """Inputs by name, in the order of the graph."""
    import onnx

    random, out = np.random.default_rng(seed), {}
    model = onnx.load(path, load_external_data=False)
    weights = {w.name for w in model.graph.initializer}
    for value in model.graph.input:
        if value.name in weights:
            continue
        dims = value.type.tensor_type.shape.dim
        shape = [batch] + [d.dim_value or tokens for d in dims[1:]]
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            out[value.name] = random.standard_normal(shape, dtype=np.float32)
        elif "mask" in value.name:
            out[value.name] = np.ones(shape, np.int64)
        else:
            out[value.name] = random.integers(0, 30000, shape)
    return out


def onnxruntime(a):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = a.threads, 3
    session = ort.InferenceSession(a.model, options, providers=["CPUExecutionProvider"])
    inputs = feeds(a.model, a.batch)
    return {"run": lambda: session.run(None, inputs)}


def openvino(a, precision="f32"):
    import openvino as ov

    core, inputs = ov.Core(), feeds(a.model, a.batch)
    model = core.read_model(a.model)
    model.reshape({p.any_name: list(inputs[p.any_name].shape) for p in model.inputs})
    settings = {"INFERENCE_NUM_THREADS": a.threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return {"run": lambda: request.infer(inputs)}


def deepsparse(a):
    os.environ["NM_DISABLE_ANALYTICS"] = os.environ["DO_NOT_TRACK"] = "1"
    from deepsparse import Engine

    inputs = list(feeds(a.model, a.batch).values())
    with tempfile.TemporaryDirectory() as folder:  # it writes the shapes into the file that it is given
        copy = shutil.copy(a.model, folder)
        engine = Engine(copy, batch_size=a.batch, num_cores=a.threads, input_shapes=str([list(i.shape) for i in inputs]))
    return {"run": lambda: engine.run(inputs)}


def llama_cpp(a):
    from llama_cpp import Llama, llama_cpp

    # Without the extra buffer types: 0.3.36 dies in its AMX one (ldtilecfg), and the others do not take Q4_1.
    defaults = llama_cpp.llama_model_default_params()
    defaults.use_extra_bufts = False
    llama_cpp.llama_model_default_params = lambda: defaults
    model = Llama(a.model, n_ctx=a.prompt + a.new, n_batch=512, n_ubatch=512, n_threads=a.threads, n_threads_batch=a.threads, verbose=False)
    prompt = [int(t) for t in np.random.default_rng(0).integers(10, 30000, a.prompt)]

    def prefill():
        model.reset()
        model.eval(prompt)

    def decode():
        model.n_tokens = a.prompt
        for _ in range(a.new):
            model.eval([1000])

    return {"prefill": prefill, "decode": decode}


def transformers(a):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(a.threads)
    folder, file = os.path.split(os.path.abspath(a.model))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    prompt = torch.from_numpy(np.random.default_rng(0).integers(10, 30000, (1, a.prompt)))
    state = {}

    def prefill():
        with torch.inference_mode():
            state["cache"] = model(prompt, use_cache=True, logits_to_keep=1).past_key_values

    def decode():
        cache, token = state["cache"], torch.tensor([[1000]])
        if (extra := cache.get_seq_length() - a.prompt) > 0:
            cache.crop(-extra)
        with torch.inference_mode():
            for _ in range(a.new):
                model(token, past_key_values=cache, use_cache=True)

    return {"prefill": prefill, "decode": decode}


ENGINES = {
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "openvino-bf16": lambda a: openvino(a, "bf16"),
    "deepsparse": deepsparse,
    "llama.cpp": llama_cpp,
    "transformers": transformers,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=list(ENGINES))
    parser.add_argument("model")
    for name, default in (("batch", 1), ("threads", os.cpu_count()), ("runs", 10), ("prompt", 256), ("new", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    a = parser.parse_args()
    phases = ENGINES[a.engine](a)
    times = {phase: [] for phase in phases}
    for run in range(-2, a.runs):
        for phase, work in phases.items():
            start = time.perf_counter()
            work()
            if run >= 0:
                times[phase].append((time.perf_counter() - start) * 1e3)
    print(json.dumps({phase: float(np.median(t)) for phase, t in times.items()}))


if __name__ == "__main__":
    main()
