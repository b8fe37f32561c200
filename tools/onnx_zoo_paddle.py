#!/usr/bin/env python3
"""Exports PaddlePaddle models as ONNX with paddle2onnx. Random seeded weights, batch-norm statistics that are not 0 and 1, the batch left symbolic.
For tools/compare_onnx.py. Needs paddlepaddle, paddle2onnx and onnx.

    onnx_zoo_paddle.py OUT_DIR [NAME...] [--list] [--opset N...]

Without --opset each model has its turn among opsets 9 to 18. Files: NAME.paddle.OPSET.onnx.
"""
import argparse
import pathlib
import subprocess
import sys

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.static import InputSpec
from paddle.vision import models, ops

OPSETS = [11, 13, 9, 17, 15, 18]
ZOO = {}  # name -> function giving a Layer and its inputs


def entry(function):
    ZOO[function.__name__] = function
    return function


def randomize(layer):
    rng = np.random.default_rng(0)
    for m in layer.sublayers(include_self=True):
        if isinstance(m, (nn.BatchNorm2D, nn.BatchNorm1D, nn.BatchNorm)):
            shape = m._mean.shape
            m._mean.set_value(rng.normal(0, 0.1, shape).astype("float32"))
            m._variance.set_value(rng.uniform(0.5, 1.5, shape).astype("float32"))
            if m.weight is not None:
                m.weight.set_value(rng.uniform(0.7, 1.3, shape).astype("float32"))
                m.bias.set_value(rng.normal(0, 0.1, shape).astype("float32"))
    layer.eval()
    return layer


def image(side=64, channels=3, free=False):
    return InputSpec([None, channels, None if free else side, None if free else side], "float32", "image")


def ids(name="ids", tokens=None):
    return InputSpec([None, tokens], "int64", name)


def vision(name, side=64, **options):
    ZOO[name] = lambda: (getattr(models, name)(pretrained=False, num_classes=50, **options), [image(side)])


for name in ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "resnet18", "resnet50", "resnext50_32x4d", "shufflenet_v2_x1_0",
             "shufflenet_v2_swish", "squeezenet1_0", "squeezenet1_1", "densenet121", "inception_v3", "vgg11", "googlenet", "alexnet"]:
    vision(name, side={"inception_v3": 128, "squeezenet1_0": 96, "squeezenet1_1": 96, "vgg11": 224, "alexnet": 224, "googlenet": 224}.get(name, 64))


def conv_bn(inputs, outputs, kernel=3, stride=1, groups=1, act=None):
    layers = [nn.Conv2D(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias_attr=False), nn.BatchNorm2D(outputs)]
    return nn.Sequential(*layers, *([act()] if act else []))


class SqueezeExcite(nn.Layer):
    def __init__(self, width):
        super().__init__()
        self.pool, self.down, self.up = nn.AdaptiveAvgPool2D(1), nn.Conv2D(width, width // 4, 1), nn.Conv2D(width // 4, width, 1)

    def forward(self, x):
        return x * F.hardsigmoid(self.up(F.relu(self.down(self.pool(x)))), slope=0.2, offset=0.5)


class Recogniser(nn.Layer):  # PP-OCR: a MobileNet of tall strides, two LSTMs, CTC
    def __init__(self, cell=nn.LSTM):
        super().__init__()
        self.body = nn.Sequential(conv_bn(3, 8, stride=2, act=nn.Hardswish), conv_bn(8, 8, groups=8, act=nn.Hardswish), conv_bn(8, 16, 1, act=nn.Hardswish), SqueezeExcite(16),
                                  conv_bn(16, 16, stride=(2, 1), groups=16, act=nn.Hardswish), conv_bn(16, 32, 1, act=nn.Hardswish),
                                  conv_bn(32, 32, stride=(2, 1), groups=32, act=nn.Hardswish), nn.MaxPool2D((4, 2), (4, 2)))
        self.rnn, self.head = cell(32, 24, num_layers=2, direction="bidirectional"), nn.Linear(48, 97)

    def forward(self, x):
        y = self.body(x).squeeze(2).transpose([0, 2, 1])
        return F.softmax(self.head(self.rnn(y)[0]), axis=2)


@entry
def ocr_recogniser():
    return Recogniser(), [InputSpec([None, 3, 32, None], "float32", "image")]


@entry
def ocr_recogniser_gru():
    return Recogniser(nn.GRU), [InputSpec([None, 3, 32, 100], "float32", "image")]


@entry
def ocr_recogniser_rnn():
    return Recogniser(nn.SimpleRNN), [InputSpec([None, 3, 32, None], "float32", "image")]


class Mixer(nn.Layer):  # SVTR: attention over a picture, as PP-OCR v3 writes it
    def __init__(self, width, heads):
        super().__init__()
        self.norm, self.norm2 = nn.LayerNorm(width, epsilon=1e-6), nn.LayerNorm(width, epsilon=1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down, self.heads, self.width = nn.Linear(width, 2 * width), nn.Linear(2 * width, width), heads, width

    def forward(self, x):
        y = self.norm(x)
        qkv = self.qkv(y).reshape((0, -1, 3, self.heads, self.width // self.heads)).transpose((2, 0, 3, 1, 4))
        q, k, v = qkv[0] * (self.width // self.heads) ** -0.5, qkv[1], qkv[2]
        y = F.softmax(q.matmul(k.transpose((0, 1, 3, 2))), axis=-1).matmul(v).transpose((0, 2, 1, 3)).reshape((0, -1, self.width))
        x = x + self.out(y)
        return x + self.down(F.swish(self.up(self.norm2(x))))


class Svtr(nn.Layer):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 16, stride=2, act=nn.GELU), conv_bn(16, 32, stride=2, act=nn.GELU))
        self.mixers, self.head = nn.Sequential(Mixer(32, 4), Mixer(32, 4)), nn.Linear(32, 97)

    def forward(self, x):
        y = self.stem(x)
        n, c, h, w = y.shape
        y = self.mixers(y.flatten(2).transpose([0, 2, 1])).transpose([0, 2, 1]).reshape([-1, 32, 8, 20])
        return F.softmax(self.head(F.adaptive_avg_pool2d(y, [1, 20]).squeeze(2).transpose([0, 2, 1])), axis=2)


@entry
def ocr_svtr():
    return Svtr(), [InputSpec([None, 3, 32, 80], "float32", "image")]


class Db(nn.Layer):  # PP-OCR detection: a feature pyramid and the differentiable-binarization head
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv_bn(3, 16, stride=4, act=nn.Hardswish), conv_bn(16, 24, stride=2, act=nn.Hardswish), conv_bn(24, 32, stride=2, act=nn.Hardswish)
        self.la, self.lb, self.lc = nn.Conv2D(16, 24, 1, bias_attr=False), nn.Conv2D(24, 24, 1, bias_attr=False), nn.Conv2D(32, 24, 1, bias_attr=False)
        self.head = nn.Sequential(conv_bn(72, 16, act=nn.ReLU), nn.Conv2DTranspose(16, 16, 2, 2), nn.BatchNorm2D(16), nn.ReLU(), nn.Conv2DTranspose(16, 1, 2, 2), nn.Sigmoid())

    def forward(self, x):
        a = self.a(x)
        b = self.b(a)
        c = self.c(b)
        c = self.lc(c)
        b = self.lb(b) + F.interpolate(c, size=[2 * s for s in c.shape[2:]], mode="nearest")
        a = self.la(a) + F.interpolate(b, size=[2 * s for s in b.shape[2:]], mode="nearest")
        up = [F.interpolate(c, size=[4 * s for s in c.shape[2:]], mode="nearest"), F.interpolate(b, size=[2 * s for s in b.shape[2:]], mode="nearest"), a]
        return self.head(paddle.concat(up, axis=1))


@entry
def ocr_detector():
    return Db(), [image()]


class Segmenter(nn.Layer):  # PP-LiteSeg and DeepLab: pyramid pooling, bilinear resizing to the input's size
    def __init__(self, align):
        super().__init__()
        self.stem, self.body, self.align = conv_bn(3, 16, stride=2, act=nn.ReLU), nn.Sequential(conv_bn(16, 32, stride=2, act=nn.ReLU), conv_bn(32, 32, act=nn.ReLU)), align
        self.pools, self.fuse = nn.LayerList([conv_bn(32, 8, 1, act=nn.ReLU) for _ in range(3)]), conv_bn(56 + 16, 16, act=nn.LeakyReLU)
        self.head = nn.Conv2D(16, 5, 1)

    def resize(self, x, like):
        return F.interpolate(x, paddle.shape(like)[2:], mode="bilinear", align_corners=self.align)

    def forward(self, x):
        s = self.stem(x)
        y = self.body(s)
        y = paddle.concat([y] + [self.resize(conv(F.adaptive_avg_pool2d(y, size)), y) for size, conv in zip((1, 2, 4), self.pools)], axis=1)
        y = self.fuse(paddle.concat([self.resize(y, s), s], axis=1))
        return self.resize(self.head(y), x), paddle.argmax(self.head(y), axis=1)


@entry
def segmenter():
    return Segmenter(False), [image()]


@entry
def segmenter_aligned():
    return Segmenter(True), [image()]


class Yolo(nn.Layer):
    def __init__(self, nms):
        super().__init__()
        self.body, self.nms = nn.Sequential(conv_bn(3, 16, stride=4, act=nn.Swish), conv_bn(16, 32, stride=2, act=nn.Mish), conv_bn(32, 32, stride=2, act=nn.LeakyReLU)), nms
        self.head = nn.Conv2D(32, 3 * (5 + 4), 1)

    def forward(self, x, size):
        boxes, scores = ops.yolo_box(self.head(self.body(x)), size, [10, 13, 16, 30, 33, 23], 4, 0.01, 16)
        if not self.nms:
            return boxes, scores
        return paddle.vision.ops.matrix_nms(boxes, scores.transpose([0, 2, 1]), 0.01, 0.02, 20, 10, background_label=-1, return_index=False)[0]


@entry
def yolo_boxes():
    return Yolo(False), [image(), InputSpec([None, 2], "int32", "size")]


class SingleShot(nn.Layer):  # boxes decoded in the graph, one class, NonMaxSuppression
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv_bn(3, 16, stride=4, act=nn.ReLU6), conv_bn(16, 32, stride=2, act=nn.ReLU6))
        self.boxes, self.scores = nn.Conv2D(32, 4, 1), nn.Conv2D(32, 1, 1)

    def forward(self, x):
        y = self.body(x)
        b = F.sigmoid(self.boxes(y)).flatten(2).transpose([0, 2, 1])[0] * 64
        s = F.sigmoid(self.scores(y)).flatten()
        corners = paddle.concat([b[:, :2] - 10, b[:, :2] + 10], axis=-1)
        keep = ops.nms(corners, 0.4, s)
        return paddle.gather(corners, keep), paddle.gather(s, keep)


@entry
def single_shot_nms():
    return SingleShot(), [InputSpec([1, 3, 64, 64], "float32", "image")]


class Ernie(nn.Layer):
    def __init__(self, width=32, heads=4):
        super().__init__()
        self.words, self.places, self.types, self.tasks = nn.Embedding(100, width, padding_idx=0), nn.Embedding(64, width), nn.Embedding(2, width), nn.Embedding(3, width)
        self.norm, self.pooler, self.head = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, 3)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(width, heads, 64, activation="gelu"), 2)

    def forward(self, ids, token_type_ids):
        mask = ((ids == 0).astype("float32") * -1e4).unsqueeze([1, 2])
        places = paddle.cumsum(paddle.ones_like(ids), axis=1) - 1
        x = self.norm(self.words(ids) + self.places(places) + self.types(token_type_ids) + self.tasks(paddle.zeros_like(ids)))
        x = self.encoder(x, mask)
        return x, self.head(F.tanh(self.pooler(x[:, 0])))


@entry
def ernie():
    return Ernie(), [ids(), ids("token_type_ids")]


class Decoder(nn.Layer):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(100, 32)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(32, 4, 64, activation="relu", normalize_before=True), 2)
        self.head = nn.Linear(32, 100)

    def forward(self, ids, memory):
        return self.head(self.decoder(self.words(ids), memory, paddle.tensor.triu(paddle.full((12, 12), -1e4), 1)))


@entry
def transformer_decoder():
    return Decoder(), [ids(tokens=12), InputSpec([None, 7, 32], "float32", "memory")]


class Text(nn.Layer):
    def __init__(self, cell, **options):
        super().__init__()
        self.words, self.rnn, self.head = nn.Embedding(100, 16), cell(16, 12, **options), nn.Linear(12 * (2 if options.get("direction") else 1), 3)

    def forward(self, ids):
        y, state = self.rnn(self.words(ids))
        return self.head(paddle.max(y, axis=1)), state


@entry
def lstm_text():
    return Text(nn.LSTM), [ids()]


@entry
def gru_text():
    return Text(nn.GRU, num_layers=2, direction="bidirectional"), [ids()]


@entry
def rnn_text():
    return Text(nn.SimpleRNN, activation="relu"), [ids()]


class Everything(nn.Layer):  # layers that the others do not have
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2D(4, 8, 3, padding="SAME", stride=2), nn.Conv2D(8, 8, 3, padding=1, dilation=2, groups=4, padding_mode="reflect")
        self.prelu, self.group, self.instance = nn.PReLU(8), nn.GroupNorm(2, 8), nn.InstanceNorm2D(8)
        self.shuffle, self.up, self.linear = nn.PixelShuffle(2), nn.Conv2DTranspose(2, 4, 3, stride=2, padding=1, output_padding=1), nn.Linear(4, 6)

    def forward(self, x):
        y = self.prelu(self.a(x))
        y = self.group(y) + self.instance(y)
        y = F.pad(F.elu(y), [1, 1, 2, 0], mode="replicate")
        y = self.shuffle(F.selu(y))
        y = F.avg_pool2d(F.hardtanh(self.up(y)), 3, 2, 1, ceil_mode=True, exclusive=False) + F.max_pool2d(self.up(y), 3, 2, 1, ceil_mode=True)
        y = F.normalize(y, axis=1)
        y = F.adaptive_max_pool2d(y, 1).flatten(1)
        top, where = paddle.topk(F.log_softmax(self.linear(y), axis=-1), 3)
        return top, where, paddle.where(y > 0.1, y, paddle.clip(y * y, 0.0, 0.05)), paddle.einsum("bi,bj->bij", y, y)


@entry
def everything():
    return Everything(), [InputSpec([None, 4, 26, 30], "float32", "image")]


class Mlp(nn.Layer):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1D(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 4), nn.Softmax())

    def forward(self, x):
        return self.layers(x)


@entry
def mlp():
    return Mlp(), [InputSpec([None, 20], "float32", "x")]


class Loop(nn.Layer):  # greedy decoding in the graph
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        out = []
        h = x
        for _ in range(3):
            y, h = self.cell(F.softmax(self.head(h)), h)
            out.append(y)
        return paddle.stack(out, axis=1)


@entry
def unrolled_cells():
    return Loop(), [InputSpec([None, 8], "float32", "x")]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out", type=pathlib.Path)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--opset", nargs="+", type=int)
    arguments.add_argument("--list", action="store_true")
    options = arguments.parse_args()
    if options.list:
        print(*ZOO, sep="\n")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    names = options.names or list(ZOO)
    if len(names) > 1:  # a process each: paddle2onnx may abort
        more = ["--opset", *map(str, options.opset)] if options.opset else []
        sys.exit(any([subprocess.run([sys.executable, __file__, str(options.out), name, *more]).returncode for name in names]))
    failures = 0
    for turn, name in enumerate(ZOO):
        if name not in names:
            continue
        for opset in options.opset or [OPSETS[turn % len(OPSETS)]]:
            file = options.out / f"{name}.paddle.{opset}.onnx"
            if file.exists():
                continue
            paddle.seed(turn)
            try:
                layer, inputs = ZOO[name]()
                paddle.onnx.export(randomize(layer), str(file)[: -len(".onnx")], input_spec=inputs, opset_version=opset)
                print(file, flush=True)
            except (Exception, SystemExit) as e:  # paddle2onnx exits where it fails
                failures += 1
                print(f"{file}: the exporter says: {type(e).__name__}: {str(e).strip().splitlines()[-1:]}", flush=True)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
