#!/usr/bin/env python3
"""Exports Keras models as ONNX the two ways people do: tf2onnx on a tf.function, and Keras' own export. Random seeded weights, batch-norm statistics
that are not 0 and 1, the batch left symbolic. For tools/compare_onnx.py. Needs tensorflow-cpu, tf2onnx and onnx.

    onnx_zoo_keras.py OUT_DIR [NAME...] [--list] [--opset N...]

Without --opset each model has its turn among opsets 11 to 18. Files: NAME.tf2onnx.OPSET.onnx, NAME.keras.OPSET.onnx.
"""
import argparse
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from keras import layers

OPSETS = [11, 13, 15, 17, 18]
ZOO = {}  # name -> function giving a Keras model


def gelu(x):  # the exact one becomes Erfc, which tf2onnx cannot write
    return keras.activations.gelu(x, approximate=True)


def entry(function):
    ZOO[function.__name__] = function
    return function


def randomize(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        shape = tuple(weight.shape)
        name = weight.path.rsplit("/", 1)[-1]
        if name in ("moving_variance", "gamma"):
            weight.assign(rng.uniform(0.7, 1.3, shape))
        elif name in ("moving_mean", "beta", "bias"):
            weight.assign(rng.normal(0, 0.1, shape))
    return model


def application(name, side=96, **options):
    def make():
        return getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3), classes=50, classifier_activation=None, **options)

    ZOO[name.lower()] = make


@entry
def mobilenetv2_any_size():
    body = keras.applications.MobileNetV2(weights=None, input_shape=(None, None, 3), include_top=False, pooling="avg")
    return keras.Model(body.inputs, layers.Dense(50)(body.output))


@entry
def conv_zoo():  # every padding, stride and dilation at once, odd sizes
    x = keras.Input((37, 41, 3), name="image")
    y = layers.ZeroPadding2D(((1, 2), (0, 1)))(x)
    y = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu6")(y)
    y = layers.SeparableConv2D(16, 3, padding="same", activation="swish")(y)
    y = layers.DepthwiseConv2D(5, strides=2, padding="same", depth_multiplier=2)(y)
    y = layers.BatchNormalization()(y)
    y = layers.PReLU(shared_axes=[1, 2])(y)
    y = layers.Conv2D(16, 3, dilation_rate=2, padding="same")(y)
    y = layers.LeakyReLU()(y)
    y = layers.MaxPooling2D(3, strides=2, padding="same")(y)
    y = layers.AveragePooling2D(2, padding="same")(y)
    y = layers.Conv2DTranspose(8, 3, strides=2, padding="same")(y)
    y = layers.Conv2DTranspose(8, 4, strides=2, padding="valid", activation="elu")(y)
    y = layers.Cropping2D(1)(y)
    y = layers.LayerNormalization()(y)
    return keras.Model(x, [layers.GlobalMaxPooling2D()(y), layers.Dense(7, activation="softmax")(layers.Flatten()(y))])


@entry
def unet():
    x = keras.Input((64, 64, 3), name="image")
    skips, y = [], x
    for width in (8, 16):
        y = layers.Conv2D(width, 3, padding="same", activation="relu")(y)
        skips.append(y)
        y = layers.MaxPooling2D()(y)
    y = layers.Conv2D(32, 3, padding="same", activation="relu")(y)
    for how, width, skip in (("bilinear", 16, skips[1]), ("nearest", 8, skips[0])):
        y = layers.UpSampling2D(interpolation=how)(y)
        y = layers.Concatenate()([y, skip])
        y = layers.Conv2D(width, 3, padding="same", use_bias=False)(y)
        y = layers.Activation("relu")(layers.BatchNormalization()(y))
    return keras.Model(x, layers.Conv2D(4, 1, activation="softmax")(y))


@entry
def unet_transposed():
    x = keras.Input((64, 64, 1), name="image")
    a = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    y = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(a)
    y = layers.Conv2DTranspose(8, 2, strides=2, padding="same")(y)
    y = layers.Add()([y, a])
    return keras.Model(x, layers.Conv2D(1, 1, activation="sigmoid")(y))


@entry
def squeeze_excite_group_norm():
    x = keras.Input((48, 48, 3), name="image")
    y = layers.Conv2D(16, 3, padding="same")(x)
    y = layers.GroupNormalization(4)(y)
    s = layers.GlobalAveragePooling2D(keepdims=True)(y)
    s = layers.Dense(4, activation=gelu)(s)
    y = layers.Multiply()([y, layers.Dense(16, activation="hard_sigmoid")(s)])
    y = layers.Resizing(32, 32)(y)
    return keras.Model(x, layers.Dense(10)(layers.Flatten()(y)))


def text_classifier(body):
    x = keras.Input((None,), dtype="int32", name="ids")
    y = body(layers.Embedding(100, 24)(x))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@entry
def lstm_text():
    return text_classifier(layers.LSTM(16))


@entry
def lstm_masked():
    x = keras.Input((12,), dtype="int32", name="ids")
    y = layers.Embedding(100, 24, mask_zero=True)(x)
    return keras.Model(x, layers.Dense(3)(layers.LSTM(16)(y)))


@entry
def bidirectional_lstm():
    return text_classifier(lambda y: layers.Bidirectional(layers.LSTM(12))(layers.Bidirectional(layers.LSTM(16, return_sequences=True))(y)))


@entry
def gru_text():
    return text_classifier(layers.GRU(16))


@entry
def gru_before():
    return text_classifier(layers.GRU(16, reset_after=False))


@entry
def bidirectional_gru_sequences():
    x = keras.Input((None, 10), name="features")
    y, *states = layers.GRU(16, return_sequences=True, return_state=True)(x)
    return keras.Model(x, [layers.TimeDistributed(layers.Dense(5))(layers.Bidirectional(layers.GRU(8, return_sequences=True))(y)), *states])


@entry
def simple_rnn():
    return text_classifier(layers.SimpleRNN(16))


@entry
def lstm_unrolled():
    x = keras.Input((6, 10), name="features")
    return keras.Model(x, layers.Dense(5)(layers.LSTM(8, unroll=True)(x)))


@entry
def sequence_to_sequence():
    source, target = keras.Input((None, 10), name="source"), keras.Input((None, 6), name="target")
    _, h, c = layers.LSTM(16, return_state=True)(source)
    y = layers.LSTM(16, return_sequences=True)(target, initial_state=[h, c])
    return keras.Model([source, target], layers.Dense(6, activation="softmax")(y))


@entry
def conv_lstm():
    x = keras.Input((4, 16, 16, 2), name="frames")
    return keras.Model(x, layers.Conv2D(1, 1)(layers.ConvLSTM2D(4, 3, padding="same")(x)))


@entry
def text_cnn():
    return text_classifier(lambda y: layers.Concatenate()([layers.GlobalMaxPooling1D()(layers.Conv1D(8, k, padding="same", activation="relu")(y)) for k in (3, 4, 5)]))


@entry
def wavenet():
    x = keras.Input((64, 4), name="samples")
    y = layers.Conv1D(8, 2, padding="causal")(x)
    for d in (1, 2, 4):
        gate = layers.Multiply()([layers.Conv1D(8, 2, dilation_rate=d, padding="causal", activation=a)(y) for a in ("tanh", "sigmoid")])
        y = layers.Add()([y, layers.Conv1D(8, 1)(gate)])
    return keras.Model(x, layers.Conv1D(4, 1, activation="softmax")(y))


def transformer_block(y, width, causal=False, mask=None):
    a = layers.MultiHeadAttention(4, width // 4)(y, y, use_causal_mask=causal, attention_mask=mask)
    y = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([y, a]))
    f = layers.Dense(width)(layers.Dense(4 * width, activation=gelu)(y))
    return layers.LayerNormalization(epsilon=1e-6)(layers.Add()([y, f]))


@entry
def transformer_text():
    return text_classifier(lambda y: layers.GlobalAveragePooling1D()(transformer_block(transformer_block(y, 24), 24)))


@entry
def transformer_masked():
    x, mask = keras.Input((None,), dtype="int32", name="ids"), keras.Input((None,), dtype="int32", name="mask")
    y = layers.Embedding(100, 32)(x)
    y = transformer_block(y, 32, mask=layers.Reshape((1, -1))(mask))
    return keras.Model([x, mask], layers.Dense(3)(y))


@entry
def transformer_causal():
    x = keras.Input((16,), dtype="int32", name="ids")
    y = layers.Embedding(100, 32)(x)
    y = layers.GroupQueryAttention(8, 4, 2)(y, y)
    return keras.Model(x, layers.Dense(100)(transformer_block(y, 32, causal=True)))


@entry
def luong_attention():
    q, v = keras.Input((None, 16), name="query"), keras.Input((None, 16), name="value")
    return keras.Model([q, v], [layers.Attention()([q, v]), layers.AdditiveAttention()([q, v])])


@entry
def vit():
    x = keras.Input((32, 32, 3), name="image")
    y = layers.Conv2D(32, 8, strides=8)(x)
    y = layers.Reshape((16, 32))(y)
    y = transformer_block(transformer_block(y, 32), 32)
    return keras.Model(x, layers.Dense(10)(layers.Flatten()(y)))


@entry
def mlp():
    x = keras.Input((20,), name="x")
    y = layers.Dense(64, activation="selu")(layers.Normalization(mean=0.3, variance=2.0)(x))
    y = layers.Dropout(0.3)(layers.Dense(32, activation="softplus")(y))
    y = layers.UnitNormalization()(layers.Dense(16, activation="mish")(y))
    return keras.Model(x, layers.Dense(4, activation="log_softmax")(y))


@entry
def rescaled_images():  # preprocessing inside the model, u8 pictures in
    x = keras.Input((None, None, 3), dtype="uint8", name="image")
    y = layers.Rescaling(1 / 127.5, offset=-1)(x)
    y = layers.CenterCrop(24, 24)(layers.Resizing(32, 32, interpolation="bilinear")(y))
    return keras.Model(x, layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(y)))


@entry
def detector():  # boxes decoded in the graph, one class, NonMaxSuppression
    x = keras.Input((64, 64, 3), name="image")
    y = layers.Conv2D(16, 3, strides=4, padding="same", activation="relu")(x)
    top = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(y)
    y = layers.Add()([y, layers.Lambda(lambda t: tf.image.resize(t, (16, 16), method="nearest"))(top)])
    boxes = layers.Reshape((-1, 4))(layers.Conv2D(4, 1, activation="sigmoid")(y))
    scores = layers.Reshape((-1,))(layers.Conv2D(1, 1, activation="sigmoid")(y))

    def chosen(values):
        b, s = values
        corners = tf.concat([b[0, :, :2] - 0.3 * b[0, :, 2:], b[0, :, :2] + 0.3 * b[0, :, 2:]], -1)
        keep = tf.image.non_max_suppression(corners, s[0], 10, 0.5, 0.2)
        return tf.gather(corners, keep)

    return keras.Model(x, [layers.Lambda(chosen)([boxes, scores]), boxes])


for name in ["MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0", "ResNet50", "ResNet50V2", "DenseNet121", "InceptionV3",
             "InceptionResNetV2", "Xception", "NASNetMobile", "VGG16", "ConvNeXtTiny"]:
    application(name, side={"NASNetMobile": 224, "InceptionV3": 128, "InceptionResNetV2": 128}.get(name, 96))


def signature(model):
    return [tf.TensorSpec(x.shape, x.dtype, name=x.name) for x in model.inputs]


def by_tf2onnx(model, opset, file):
    def call(*inputs):
        return model(dict(zip((x.name for x in model.inputs), inputs)) if len(inputs) > 1 else inputs[0], training=False)

    tf2onnx.convert.from_function(tf.function(call), input_signature=signature(model), opset=opset, output_path=str(file))


def by_keras(model, opset, file):
    model.export(str(file), format="onnx", input_signature=signature(model), opset_version=opset, verbose=False)


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
    failures = 0
    for turn, name in enumerate(ZOO):
        if options.names and name not in options.names:
            continue
        for opset in options.opset or [OPSETS[turn % len(OPSETS)]]:
            for exporter in ([by_tf2onnx, by_keras] if turn % 3 == 0 or options.names else [by_tf2onnx]):
                file = options.out / f"{name}.{exporter.__name__[3:]}.{opset}.onnx"
                if file.exists():
                    continue
                keras.utils.set_random_seed(turn)
                try:
                    exporter(randomize(ZOO[name]()), opset, file)
                    print(file, flush=True)
                except Exception as e:
                    failures += 1
                    print(f"{file}: the exporter says: {type(e).__name__}: {str(e).splitlines()[:1]}", flush=True)
                keras.backend.clear_session()
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
