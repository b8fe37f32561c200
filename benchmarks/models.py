#!/usr/bin/env python3
"""Writes dense benchmark models with random weights as ONNX (opset 13, batch left open): models.py OUT [NAME...]
models.py --gguf IN OUT [TYPE]: a Hugging Face directory of the Llama family as GGUF for llama.cpp (Q8_0 by default; no vocabulary).
models.py --quantize IN OUT: the QDQ model of ONNX Runtime's static quantizer (u8 activations, s8 weights per channel), calibrated on random inputs.

resnet50: batch norm folded, 224 x 224. bert: 12 layers of 768, 128 tokens. minilm: 6 layers of 384, 128 tokens.
tinyllama: 22 layers of 2048, 1.1 B parameters, a Hugging Face directory in bf16 shards (made only if named).
Random weights time like trained ones: no kernel looks at a value other than zero.
"""
import json
import pathlib
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """Collects the nodes and weights of one graph; a call adds a node and gives the name of its result."""

    def __init__(self):
        self.nodes, self.weights = [], []
        self.random = np.random.default_rng(7)

    def weight(self, values, name=None):
        name = name or f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def gaussian(self, *shape, deviation, name=None):
        return self.weight(self.random.standard_normal(shape, dtype=np.float32) * np.float32(deviation), name)

    def scalar(self, value):
        return self.weight(np.float32(value))

    def __call__(self, op, *inputs, **attributes):
        result = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [result], result, **attributes))
        return result

    def save(self, path, inputs, output, shape):
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, path.stem, inputs, [result], self.weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def resnet50(path):
    g = Builder()
    count = 0

    def conv(x, channels, out, size, stride=1, relu=True):
        nonlocal count
        count += 1
        fan_in = channels * size * size
        w = g.gaussian(out, channels, size, size, deviation=(2 / fan_in) ** 0.5, name=f"conv{count}.weight")
        b = g.gaussian(out, deviation=0.1, name=f"conv{count}.bias")
        y = g("Conv", x, w, b, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[size // 2] * 4)
        return g("Relu", y) if relu else y

    x = conv("input", 3, 64, 7, 2)
    x = g("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            y = conv(conv(x, channels, width, 1), width, width, 3, stride)
            y = conv(y, width, 4 * width, 1, relu=False)
            skip = conv(x, channels, 4 * width, 1, stride, relu=False) if block == 0 else x
            x, channels = g("Relu", g("Add", y, skip)), 4 * width
    x = g("Flatten", g("GlobalAveragePool", x))
    x = g("Gemm", x, g.gaussian(1000, 2048, deviation=0.02, name="fc.weight"), g.weight(np.zeros(1000, np.float32), "fc.bias"), transB=1)
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 224, 224])
    g.save(path, [image], x, ["batch", 1000])


def encoder(path, layers, width, heads, inner, vocabulary=30522, tokens=128):
    g = Builder()
    split = g.weight(np.array([0, 0, heads, width // heads]))
    join = g.weight(np.array([0, 0, width]))
    depth = g.scalar((width // heads) ** 0.5)

    def norm(x):
        centred = g("Sub", x, g("ReduceMean", x, axes=[-1]))
        variance = g("ReduceMean", g("Pow", centred, g.scalar(2)), axes=[-1])
        y = g("Div", centred, g("Sqrt", g("Add", variance, g.scalar(1e-12))))
        return g("Add", g("Mul", y, g.weight(np.ones(width, np.float32))), g.weight(np.zeros(width, np.float32)))

    def linear(x, columns, rows, name):
        w = g.gaussian(columns, rows, deviation=columns**-0.5, name=name + ".weight")
        return g("Add", g("MatMul", x, w), g.weight(np.zeros(rows, np.float32), name + ".bias"))

    x = g("Gather", g.gaussian(vocabulary, width, deviation=0.5, name="embeddings.words"), "input_ids")
    x = norm(g("Add", x, g.gaussian(1, tokens, width, deviation=0.1, name="embeddings.positions")))
    mask = g("Unsqueeze", g("Cast", "attention_mask", to=TensorProto.FLOAT), g.weight(np.array([1, 2])))
    mask = g("Mul", g("Sub", g.scalar(1), mask), g.scalar(-1e4))
    for layer in range(layers):
        name = f"layers.{layer}."
        q, k, v = (g("Reshape", linear(x, width, width, name + part), split) for part in ("query", "key", "value"))
        scores = g("MatMul", g("Transpose", q, perm=[0, 2, 1, 3]), g("Transpose", k, perm=[0, 2, 3, 1]))
        shares = g("Softmax", g("Add", g("Div", scores, depth), mask), axis=-1)
        mixed = g("Transpose", g("MatMul", shares, g("Transpose", v, perm=[0, 2, 1, 3])), perm=[0, 2, 1, 3])
        x = norm(g("Add", linear(g("Reshape", mixed, join), width, width, name + "output"), x))
        y = linear(x, width, inner, name + "up")
        y = g("Mul", g("Mul", y, g("Add", g("Erf", g("Div", y, g.scalar(2**0.5))), g.scalar(1))), g.scalar(0.5))
        x = norm(g("Add", linear(y, inner, width, name + "down"), x))
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", tokens]) for n in ("input_ids", "attention_mask")]
    g.save(path, inputs, x, ["batch", tokens, width])


def tinyllama(path):
    generator = pathlib.Path(__file__).resolve().parent.parent / "tools/fixtures/big_model.py"
    subprocess.run([sys.executable, generator, path.with_suffix(""), "--shape", "tinyllama"], check=True)


MODELS = {
    "resnet50": resnet50,
    "bert": lambda path: encoder(path, layers=12, width=768, heads=12, inner=3072),
    "minilm": lambda path: encoder(path, layers=6, width=384, heads=12, inner=1536),
    "tinyllama": tinyllama,
}


def to_gguf(path, out, kind):
    import gguf

    config, kind = json.loads((path / "config.json").read_text()), gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for file in sorted(path.glob("*.safetensors")):
        raw = np.memmap(file, np.uint8, "r")
        start = 8 + int(raw[:8].view(np.uint64)[0])
        for name, entry in json.loads(raw[8:start].tobytes()).items():
            first, end = (start + offset for offset in entry["data_offsets"])
            values = (raw[first:end].view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])
            # Rows of query and key stay in their order: only the time counts.
            matrix = values.ndim == 2
            data = gguf.quants.quantize(values, kind) if matrix else values
            writer.add_tensor(names.get_name(name, (".weight",)), data, raw_dtype=kind if matrix else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(path, out):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from peer import feeds

    class Samples(CalibrationDataReader):
        def __init__(self):
            self.left = [feeds(path, 1, seed=seed) for seed in range(4)]

        def get_next(self):
            return self.left.pop() if self.left else None

    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(path, prepared, skip_symbolic_shape=True)
    operators = {node.op_type for node in onnx.load(prepared, load_external_data=False).graph.node}
    quantize_static(prepared, out, Samples(), quant_format=QuantFormat.QDQ, per_channel=True, weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
                    op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add"] if "Conv" in operators else ["MatMul", "Gemm"])
    prepared.unlink()


if __name__ == "__main__":
    if sys.argv[1] == "--quantize":
        quantize(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
        sys.exit()
    if sys.argv[1] == "--gguf":
        to_gguf(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), *(sys.argv[4:5] or ["Q8_0"]))
        sys.exit()
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or [n for n in MODELS if n != "tinyllama"]:
        MODELS[name](out / f"{name}.onnx")
