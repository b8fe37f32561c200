#!/usr/bin/env python3
"""Exports the models people have as ONNX, the way they get them: random seeded weights, batch-norm statistics that are not 0 and 1, sizes left
symbolic. For tools/compare_onnx.py. Needs torch, torchvision, transformers, onnx and (for the newer exporter) onnxscript.

    onnx_zoo.py OUT_DIR [NAME...] [--list] [--exporter torchscript dynamo] [--opset N...]

Without --opset each model has its turn among opsets 11 to 20 (18 and up for the newer exporter). Files: NAME.EXPORTER.OPSET.onnx.
"""
import argparse
import contextlib
import io
import os
import pathlib
import sys
import warnings

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

warnings.filterwarnings("ignore")
torch.backends.mha.set_fastpath_enabled(False)
HUB = set()
ZOO = {}  # name -> function giving module, inputs: {name: (tensor, {axis: symbol})}, output names


def entry(function):
    ZOO[function.__name__] = function
    return function


def randomize(module):
    for m in module.modules():
        if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm1d)):
            nn.init.uniform_(m.running_var, 0.5, 1.5)
            nn.init.normal_(m.running_mean, std=0.1)
            if m.affine:
                nn.init.uniform_(m.weight, 0.7, 1.3)
                nn.init.normal_(m.bias, std=0.1)
    return module.eval()


def image(size=64, batch="batch", free=False):
    axes = {0: batch, **({2: "height", 3: "width"} if free else {})}
    return {"input": (torch.randn(2, 3, size, size), axes)}


def vision(name, size=64, free=False, **options):
    def make():
        return getattr(torchvision.models, name)(weights=None, **options), image(size, free=free), ["output"]

    ZOO[name] = make


for name in ["resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "squeezenet1_1", "shufflenet_v2_x1_0", "densenet121",
             "regnet_y_400mf", "regnet_x_400mf", "efficientnet_b0", "mnasnet0_5", "convnext_tiny", "alexnet", "vgg11_bn", "resnext50_32x4d", "efficientnet_v2_s"]:
    vision(name, size={"squeezenet1_1": 96, "alexnet": 224, "vgg11_bn": 224}.get(name, 64), free=name in ("resnet18", "mobilenet_v2", "shufflenet_v2_x1_0"))
vision("inception_v3", size=96, aux_logits=False, init_weights=False)
vision("googlenet", aux_logits=False, init_weights=False)
vision("vit_b_16", size=32, image_size=32)
vision("swin_t")
vision("swin_v2_t")
vision("maxvit_t", size=224)


class OnlyOut(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, input):
        return self.inner(input)["out"]


@entry
def deeplabv3_mobilenet():
    return OnlyOut(torchvision.models.segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None)), image(64, free=True), ["output"]


@entry
def lraspp():
    return OnlyOut(torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)), image(64), ["output"]


@entry
def fcn_resnet50():
    return OnlyOut(torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None)), image(64), ["output"]


def block(i, o, k=1, s=1):
    return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o), nn.SiLU())


class Split(nn.Module):  # C2f of YOLO v8
    def __init__(self, i, o):
        super().__init__()
        self.first, self.last, self.inner = block(i, o), block(o // 2 * 3, o), nn.Sequential(block(o // 2, o // 2, 3), block(o // 2, o // 2, 3))

    def forward(self, x):
        a, b = self.first(x).chunk(2, 1)
        return self.last(torch.cat([a, b, b + self.inner(b)], 1))


class Spp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.first, self.last, self.pool = block(c, c // 2), block(c * 2, c), nn.MaxPool2d(5, 1, 2)

    def forward(self, x):
        x = self.first(x)
        a = self.pool(x)
        b = self.pool(a)
        return self.last(torch.cat([x, a, b, self.pool(b)], 1))


class Yolo8(nn.Module):
    """Two scales, distribution focal loss boxes, grid and strides as in the exported heads."""

    def __init__(self, classes=5, bins=8):
        super().__init__()
        self.stem = nn.Sequential(block(3, 16, 3, 2), block(16, 32, 3, 2), Split(32, 32))
        self.p3 = nn.Sequential(block(32, 64, 3, 2), Split(64, 64))
        self.p4 = nn.Sequential(block(64, 96, 3, 2), Split(96, 96), Spp(96))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.n3, self.down, self.n4 = Split(160, 64), block(64, 64, 3, 2), Split(160, 96)
        self.boxes = nn.ModuleList(nn.Sequential(block(c, 32, 3), nn.Conv2d(32, 4 * bins, 1)) for c in (64, 96))
        self.classes = nn.ModuleList(nn.Sequential(block(c, 32, 3), nn.Conv2d(32, classes, 1)) for c in (64, 96))
        self.bins = bins
        self.register_buffer("project", torch.arange(bins, dtype=torch.float32).view(1, bins, 1, 1))

    def forward(self, x):
        p3 = self.p3(self.stem(x))
        p4 = self.p4(p3)
        n3 = self.n3(torch.cat([self.up(p4), p3], 1))
        n4 = self.n4(torch.cat([self.down(n3), p4], 1))
        boxes, scores = [], []
        for level, (f, stride) in enumerate(((n3, 8), (n4, 16))):
            n, _, h, w = f.shape
            ys, xs = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
            centre = torch.stack([xs, ys]).view(1, 2, -1)
            d = self.boxes[level](f).view(n, 4, self.bins, h * w).transpose(1, 2).softmax(1)
            d = F.conv2d(d, self.project).view(n, 4, h * w)
            lt, rb = d.chunk(2, 1)
            low, high = centre - lt, centre + rb
            boxes.append(torch.cat([(low + high) / 2, high - low], 1) * stride)
            scores.append(self.classes[level](f).flatten(2).sigmoid())
        return torch.cat([torch.cat(boxes, 2), torch.cat(scores, 2)], 1)


@entry
def yolo8():
    return Yolo8(), image(64), ["output"]


@entry
def yolo8_free():
    return Yolo8(), image(64, free=True), ["output"]


class Yolo5(nn.Module):
    """One scale with anchors: reshape to [n, anchors, 5 + classes, h, w], transpose, sigmoid, grid."""

    def __init__(self, classes=3):
        super().__init__()
        self.body = nn.Sequential(block(3, 16, 6, 2), block(16, 32, 3, 2), Split(32, 32), block(32, 48, 3, 2), Spp(48))
        self.head, self.outputs = nn.Conv2d(48, 3 * (5 + classes), 1), 5 + classes
        self.register_buffer("anchors", torch.tensor([[10.0, 13], [16, 30], [33, 23]]).view(1, 3, 1, 1, 2))

    def forward(self, x):
        x = self.head(self.body(x))
        n, _, h, w = x.shape
        x = x.view(n, 3, self.outputs, h, w).permute(0, 1, 3, 4, 2).contiguous()
        ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        grid = torch.stack((xs, ys), 2).view(1, 1, h, w, 2).float() - 0.5
        xy, wh, rest = x.sigmoid().split((2, 2, self.outputs - 4), 4)
        return torch.cat(((xy * 2 + grid) * 8, (wh * 2) ** 2 * self.anchors, rest), 4).view(n, -1, self.outputs)


@entry
def yolo5():
    return Yolo5(), image(64, free=True), ["output"]


class YoloNms(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Yolo5()

    def forward(self, x):
        p = self.net(x)[0]
        xy, wh = p[:, :2], p[:, 2:4]
        boxes = torch.cat([xy - wh / 2, xy + wh / 2], 1)
        keep = torchvision.ops.nms(boxes, p[:, 4], 0.5)
        return boxes[keep], p[keep, 4]


@entry
def yolo5_nms():
    return YoloNms(), {"input": (torch.randn(1, 3, 64, 64), {})}, ["boxes", "scores"]


class Crnn(nn.Module):
    def __init__(self, cell=nn.LSTM, classes=37):
        super().__init__()
        layers = []
        for i, o, pool in ((1, 16, (2, 2)), (16, 32, (2, 2)), (32, 48, (2, 1)), (48, 48, (2, 1))):
            layers += [nn.Conv2d(i, o, 3, 1, 1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(pool)]
        self.cnn, self.rnn = nn.Sequential(*layers), cell(96, 32, num_layers=2, bidirectional=True)
        self.head = nn.Linear(64, classes)

    def forward(self, x):
        x = self.cnn(x).flatten(1, 2).permute(2, 0, 1)
        y, _ = self.rnn(x)
        return self.head(y).log_softmax(2)


@entry
def crnn_lstm():
    return Crnn(), {"input": (torch.randn(2, 1, 32, 100), {0: "batch", 3: "width"})}, ["output"]


@entry
def crnn_gru():
    return Crnn(nn.GRU), {"input": (torch.randn(2, 1, 32, 100), {0: "batch", 3: "width"})}, ["output"]


class LstmTagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.rnn, self.head = nn.Embedding(100, 24), nn.LSTM(24, 32, batch_first=True), nn.Linear(32, 7)

    def forward(self, input_ids):
        y, (h, c) = self.rnn(self.words(input_ids))
        return self.head(y), h


@entry
def lstm_tagger():
    return LstmTagger(), {"input_ids": (torch.randint(0, 100, (2, 9)), {0: "batch", 1: "seq"})}, ["tags", "hidden"]


class FaceNet(nn.Module):
    """ArcFace's shape: PReLU residual blocks, embedding by a fully connected layer with batch norm, normalised."""

    def __init__(self):
        super().__init__()

        class Unit(nn.Module):
            def __init__(self, i, o):
                super().__init__()
                self.body = nn.Sequential(nn.BatchNorm2d(i), nn.Conv2d(i, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o), nn.PReLU(o), nn.Conv2d(o, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o))
                self.skip = nn.Sequential(nn.Conv2d(i, o, 1, 2, bias=False), nn.BatchNorm2d(o))

            def forward(self, x):
                return self.body(x) + self.skip(x)

        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.PReLU(16), Unit(16, 24), Unit(24, 32), nn.BatchNorm2d(32), nn.Dropout(), nn.Flatten(),
                                  nn.Linear(32 * 28 * 28, 64), nn.BatchNorm1d(64))

    def forward(self, x):
        return F.normalize(self.body(x))


@entry
def face():
    return FaceNet(), image(112), ["output"]


@entry
def mlp():
    layers = [nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU(), nn.Dropout(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 4), nn.Softmax(-1)]
    return nn.Sequential(*layers), {"input": (torch.randn(2, 20), {0: "batch"})}, ["output"]


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = block(3, 16, 3), block(16, 32, 3, 2), block(32, 64, 3, 2)
        self.u, self.v = nn.ConvTranspose2d(64, 32, 2, 2), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.d, self.e, self.head = block(64, 32, 3), nn.Sequential(nn.Conv2d(48, 16, 3, padding=1, padding_mode="reflect"), nn.GroupNorm(4, 16), nn.InstanceNorm2d(16)), nn.Conv2d(16, 2, 1)

    def forward(self, x):
        a = self.a(x)
        b = self.b(a)
        y = self.d(torch.cat([self.u(self.c(b)), b], 1))
        return self.head(self.e(torch.cat([self.v(y), a], 1)))


@entry
def unet():
    return UNet(), image(32), ["output"]


class SuperResolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.shuffle = nn.Sequential(nn.Conv2d(3, 16, 5, 1, 2), nn.ReLU(), nn.Conv2d(16, 27, 3, 1, 1)), nn.PixelShuffle(3)

    def forward(self, x):
        return self.shuffle(self.body(x)) + F.interpolate(x, scale_factor=3, mode="bicubic")


@entry
def super_resolution():
    return SuperResolution(), image(24, free=True), ["output"]


def torch_transformer(**options):
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(60, 32)
            self.body = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, **options), 2, enable_nested_tensor=False)
            self.head = nn.Linear(32, 60)

        def forward(self, input_ids):
            n = input_ids.shape[1]
            mask = torch.triu(torch.full((n, n), float("-inf")), 1)
            return self.head(self.body(self.words(input_ids), mask=mask, is_causal=False))

    return Encoder(), {"input_ids": (torch.randint(0, 60, (2, 9)), {0: "batch", 1: "seq"})}, ["output"]


@entry
def torch_encoder():
    return torch_transformer()


@entry
def torch_encoder_norm_first():
    return torch_transformer(norm_first=True, activation="gelu")


class Hub(nn.Module):
    """A transformers model with named inputs and one or more tensors out."""

    def __init__(self, inner, names, pick):
        super().__init__()
        self.inner, self.names, self.pick = inner, names, pick

    def forward(self, *values):
        out = self.inner(**dict(zip(self.names, values)), return_dict=True)
        return tuple(getattr(out, p) for p in self.pick)


def hub(name, class_name, config_class, pick, inputs=("input_ids", "attention_mask"), **config):
    def make():
        import transformers

        made = getattr(transformers, config_class)(**{k: v for k, v in config.items() if k != "image_size" or name != "resnet_hub"})
        made._attn_implementation = "eager" if name.endswith("_eager") or name in ("mpnet", "deberta", "mobilevit", "xlnet", "swin_hub", "resnet_hub") else "sdpa"
        values = {"input_ids": torch.randint(5, 90, (2, 12)), "attention_mask": torch.ones(2, 12, dtype=torch.int64), "token_type_ids": torch.zeros(2, 12, dtype=torch.int64),
                  "decoder_input_ids": torch.randint(5, 90, (2, 12))}
        values["attention_mask"][1, 7:] = 0
        if "pixel_values" in inputs:
            arguments = {"pixel_values": (torch.randn(2, 3, config["image_size"], config["image_size"]), {0: "batch"})}
        elif "input_features" in inputs:
            arguments = {"input_features": (torch.randn(2, 16, 40), {0: "batch"})}
        elif "input_values" in inputs:
            arguments = {"input_values": (torch.randn(2, 800), {0: "batch"})}
        else:
            arguments = {i: (values[i], {0: "batch", 1: "sequence"}) for i in inputs}
        model = getattr(transformers, class_name)(made)
        if name == "whisper_encoder":
            model = model.encoder
        return Hub(model, list(arguments), pick), arguments, list(pick)

    ZOO[name] = make
    HUB.add(name)


small = dict(vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=64)
all_three = ("input_ids", "attention_mask", "token_type_ids")
for suffix in ("", "_eager"):
    hub("bert" + suffix, "BertModel", "BertConfig", ["last_hidden_state", "pooler_output"], all_three, **small)
    hub("gpt2" + suffix, "GPT2LMHeadModel", "GPT2Config", ["logits"], vocab_size=100, n_embd=32, n_layer=2, n_head=4, n_positions=64, use_cache=False)
hub("bert_mlm", "BertForMaskedLM", "BertConfig", ["logits"], all_three, **small)
hub("bert_qa", "BertForQuestionAnswering", "BertConfig", ["start_logits", "end_logits"], all_three, **small)
hub("distilbert", "DistilBertForSequenceClassification", "DistilBertConfig", ["logits"], vocab_size=100, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64)
hub("roberta", "RobertaForSequenceClassification", "RobertaConfig", ["logits"], **small)
hub("albert", "AlbertModel", "AlbertConfig", ["last_hidden_state"], embedding_size=16, **small)
hub("electra", "ElectraModel", "ElectraConfig", ["last_hidden_state"], embedding_size=16, **small)
hub("mpnet", "MPNetModel", "MPNetConfig", ["last_hidden_state"], **small)
hub("deberta", "DebertaV2Model", "DebertaV2Config", ["last_hidden_state"], relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8, norm_rel_ebd="layer_norm", share_att_key=True,
    **small)
hub("modernbert", "ModernBertModel", "ModernBertConfig", ["last_hidden_state"], pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2, **small)
llama = dict(small, num_key_value_heads=2, use_cache=False)
hub("llama", "LlamaForCausalLM", "LlamaConfig", ["logits"], **llama)
hub("qwen2", "Qwen2ForCausalLM", "Qwen2Config", ["logits"], **llama)
hub("t5", "T5EncoderModel", "T5Config", ["last_hidden_state"], vocab_size=100, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
hub("vit", "ViTModel", "ViTConfig", ["last_hidden_state"], ("pixel_values",), image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
hub("deit", "DeiTModel", "DeiTConfig", ["last_hidden_state"], ("pixel_values",), image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
hub("clip_vision", "CLIPVisionModel", "CLIPVisionConfig", ["last_hidden_state"], ("pixel_values",), image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
hub("dinov2", "Dinov2Model", "Dinov2Config", ["last_hidden_state"], ("pixel_values",), image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
hub("segformer", "SegformerForSemanticSegmentation", "SegformerConfig", ["logits"], ("pixel_values",), image_size=64, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 3, 4],
    decoder_hidden_size=32)
hub("mobilevit", "MobileViTModel", "MobileViTConfig", ["last_hidden_state"], ("pixel_values",), image_size=64)



class PoseOrDepth(nn.Module):
    """DBNet's and RetinaFace's shape: feature pyramid, transposed convolutions, several heads of permuted boxes."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = block(3, 16, 3, 2), block(16, 32, 3, 2), block(32, 48, 3, 2)
        self.la, self.lb, self.lc = nn.Conv2d(16, 24, 1), nn.Conv2d(32, 24, 1), nn.Conv2d(48, 24, 1)
        self.up = nn.Sequential(nn.ConvTranspose2d(72, 16, 2, 2), nn.BatchNorm2d(16), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Sigmoid())
        self.boxes, self.points = nn.Conv2d(24, 2 * 4, 1), nn.Conv2d(24, 2 * 10, 1)

    def forward(self, x):
        a = self.a(x)
        b = self.b(a)
        pc = self.lc(self.c(b))
        pb = self.lb(b) + F.interpolate(pc, size=b.shape[2:], mode="bilinear", align_corners=False)
        pa = self.la(a) + F.interpolate(pb, size=a.shape[2:], mode="nearest")
        fused = torch.cat([pa, F.interpolate(pb, scale_factor=2), F.interpolate(pc, scale_factor=4)], 1)
        boxes = torch.cat([self.boxes(p).permute(0, 2, 3, 1).reshape(p.shape[0], -1, 4) for p in (pa, pb, pc)], 1)
        points = torch.cat([self.points(p).permute(0, 2, 3, 1).contiguous().view(p.shape[0], -1, 10) for p in (pa, pb, pc)], 1)
        return self.up(fused), boxes, points


@entry
def pyramid():
    return PoseOrDepth(), image(64), ["map", "boxes", "points"]


class TextCnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(100, 16)
        self.convs = nn.ModuleList(nn.Conv1d(16, 24, k) for k in (2, 3, 4))
        self.head = nn.Linear(72, 3)

    def forward(self, input_ids):
        x = self.words(input_ids).transpose(1, 2)
        return self.head(torch.cat([F.relu(c(x)).max(2)[0] for c in self.convs], 1))


@entry
def text_cnn():
    return TextCnn(), {"input_ids": (torch.randint(0, 100, (2, 9)), {0: "batch", 1: "seq"})}, ["output"]


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 8, 8)
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(5))
        self.tokens = nn.ModuleList(nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16)) for _ in range(2))
        self.channels = nn.ModuleList(nn.Sequential(nn.Linear(32, 64), nn.GELU(approximate="tanh"), nn.Linear(64, 32)) for _ in range(2))
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        for i in range(2):
            x = x + self.tokens[i](self.norms[2 * i](x).transpose(1, 2)).transpose(1, 2)
            x = x + self.channels[i](self.norms[2 * i + 1](x))
        return self.head(self.norms[4](x).mean(1))


@entry
def mixer():
    return Mixer(), image(32), ["output"]


class SentenceEncoder(nn.Module):
    """What sentence transformers export: mean over the tokens that count, normalised."""

    def __init__(self):
        import transformers

        super().__init__()
        self.inner = transformers.BertModel(transformers.BertConfig(**small))

    def forward(self, input_ids, attention_mask):
        hidden = self.inner(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).expand(hidden.size()).float()
        pooled = torch.sum(hidden * mask, 1) / torch.clamp(mask.sum(1), min=1e-9)
        return hidden, F.normalize(pooled, p=2, dim=1)


@entry
def sentence_encoder():
    mask = torch.ones(2, 12, dtype=torch.int64)
    mask[1, 7:] = 0
    axes = {0: "batch", 1: "sequence"}
    return SentenceEncoder(), {"input_ids": (torch.randint(5, 90, (2, 12)), axes), "attention_mask": (mask, axes)}, ["token_embeddings", "sentence_embedding"]


class WithPast(nn.Module):
    """One step of a decoder: keys and values of the past are inputs and outputs."""

    def __init__(self):
        super().__init__()
        self.words, self.norm = nn.Embedding(100, 32), nn.LayerNorm(32)
        self.q, self.k, self.v, self.o, self.head = (nn.Linear(32, n) for n in (32, 32, 32, 32, 100))

    def forward(self, input_ids, past_key, past_value):
        x = self.words(input_ids)
        h = self.norm(x)
        q, k, v = (p(h).view(*h.shape[:2], 4, 8).transpose(1, 2) for p in (self.q, self.k, self.v))
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
        a = F.scaled_dot_product_attention(q, k, v)
        return self.head(x + self.o(a.transpose(1, 2).reshape(x.shape))), k, v


@entry
def decoder_step():
    past = {0: "batch", 2: "past"}
    return WithPast(), {"input_ids": (torch.randint(0, 90, (2, 3)), {0: "batch", 1: "sequence"}), "past_key": (torch.randn(2, 4, 5, 8), past), "past_value": (torch.randn(2, 4, 5, 8), past)}, \
        ["logits", "key", "value"]


HUB |= {"sentence_encoder", "decoder_step"}
audio = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
hub("clip_text", "CLIPTextModel", "CLIPTextConfig", ["last_hidden_state", "pooler_output"], eos_token_id=2, **small)
hub("whisper_encoder", "WhisperModel", "WhisperConfig", ["last_hidden_state"], ("input_features",), vocab_size=100, num_mel_bins=16, d_model=32, encoder_layers=2, encoder_attention_heads=4,
    encoder_ffn_dim=64, decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=64, max_source_positions=20, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)
hub("wav2vec2", "Wav2Vec2Model", "Wav2Vec2Config", ["last_hidden_state"], ("input_values",), conv_dim=[16] * 3, conv_stride=[5, 2, 2], conv_kernel=[10, 3, 2], num_feat_extract_layers=3,
    num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, **audio)
hub("bart", "BartModel", "BartConfig", ["last_hidden_state"], ("input_ids", "attention_mask", "decoder_input_ids"), vocab_size=100, d_model=32, encoder_layers=1, decoder_layers=1,
    encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64, use_cache=False)
hub("dpt", "DPTForDepthEstimation", "DPTConfig", ["predicted_depth"], ("pixel_values",), image_size=64, patch_size=16, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=64,
    backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 16, 16, 16], fusion_hidden_size=16)
hub("swin_hub", "SwinModel", "SwinConfig", ["last_hidden_state"], ("pixel_values",), image_size=32, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4)
hub("resnet_hub", "ResNetForImageClassification", "ResNetConfig", ["logits"], ("pixel_values",), image_size=64, embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1])
hub("xlnet", "XLNetModel", "XLNetConfig", ["last_hidden_state"], vocab_size=100, d_model=32, n_layer=2, n_head=4, d_inner=64)
hub("gemma", "GemmaForCausalLM", "GemmaConfig", ["logits"], head_dim=8, pad_token_id=0, bos_token_id=1, eos_token_id=2, **llama)
hub("phi3", "Phi3ForCausalLM", "Phi3Config", ["logits"], pad_token_id=0, bos_token_id=1, eos_token_id=2, **llama)

def export(name, exporter, opset, path):
    torch.manual_seed(0)
    module, inputs, outputs = ZOO[name]()
    module = randomize(module)
    values = tuple(v for v, _ in inputs.values())
    axes = {k: a for k, (_, a) in inputs.items() if a}
    common = dict(input_names=list(inputs), output_names=outputs, opset_version=opset)
    with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        if exporter == "torchscript":
            torch.onnx.export(module, values, path, dynamo=False, dynamic_axes={**axes, **{o: {0: "batch"} for o in outputs if axes}}, **common)
        else:
            shapes = [{i: torch.export.Dim.DYNAMIC for i in inputs[k][1]} for k in inputs]
            if isinstance(module, Hub):
                shapes = [shapes]  # its arguments are one *values
            torch.onnx.export(module, values, path, dynamo=True, dynamic_shapes=tuple(tuple(s) if isinstance(s, list) else s for s in shapes), external_data=False, verbose=False, **common)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out", type=pathlib.Path)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--exporter", nargs="+", default=["torchscript", "dynamo"])
    arguments.add_argument("--opset", type=int, nargs="*")
    arguments.add_argument("--list", action="store_true")
    a = arguments.parse_args()
    if a.list:
        return print("\n".join(ZOO))
    a.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for turn, name in enumerate(a.names or ZOO):
        for exporter in a.exporter:
            turns = [18, 20, 21] if exporter == "dynamo" else [11, 13, 14, 16, 17, 18, 20] if name not in HUB else [14, 16, 17, 18, 20]  # its attention needs 14
            turn = list(ZOO).index(name)
            for opset in a.opset or [turns[turn % len(turns)]]:
                path = a.out / f"{name}.{exporter}.{opset}.onnx"
                if path.exists():
                    continue
                try:
                    export(name, exporter, opset, str(path))
                    print(path, flush=True)
                except Exception as e:
                    failed += 1
                    print(f"{path}: {type(e).__name__}: {str(e).strip().splitlines()[0] if str(e).strip() else ''}"[:300], file=sys.stderr, flush=True)
    os._exit(failed > 0)


if __name__ == "__main__":
    main()
