"""quantized_onnx.py MODEL.onnx OUT.onnx qdq|qoperator u8|s8: MODEL quantized by ONNX Runtime's static quantizer, per channel, calibrated on normal noise."""
import sys

import numpy
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static


class Noise(CalibrationDataReader):
    def __init__(self, path):
        random = numpy.random.default_rng(0)
        inputs = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs()
        self.feeds = iter([{i.name: random.standard_normal([d if isinstance(d, int) else 2 for d in i.shape], numpy.float32) for i in inputs} for _ in range(4)])

    def get_next(self):
        return next(self.feeds, None)


model, out, form, activations = sys.argv[1:]
quantize_static(model, out, Noise(model), quant_format=QuantFormat.QDQ if form == "qdq" else QuantFormat.QOperator, per_channel=True, weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8 if activations == "u8" else QuantType.QInt8)
