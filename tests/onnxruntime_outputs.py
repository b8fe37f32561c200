"""onnxruntime_outputs.py MODEL.onnx NAME=INPUT.npy... OUT_DIR: runs MODEL with ONNX Runtime and writes OUT_DIR/NAME.npy for each output."""
import pathlib
import sys

import numpy
import onnxruntime

model, *inputs, folder = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
feeds = {name: numpy.load(path) for name, path in (text.split("=", 1) for text in inputs)}
for output, value in zip(session.get_outputs(), session.run(None, feeds)):
    numpy.save(pathlib.Path(folder) / f"{output.name}.npy", value)
