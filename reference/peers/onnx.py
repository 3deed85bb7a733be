"""ONNX Runtime on the graph that onnx_export.py writes."""

import pathlib

import numpy
import onnxruntime
from onnxruntime import OrtValue

from peers.common import read_config


class OnnxRuntime:
    """The exported graph; keys and values stay in buffers that each call writes its new rows into."""

    def __init__(self, folder: pathlib.Path, converted: pathlib.Path | None, threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(converted / "model.onnx", options, ["CPUExecutionProvider"])
        self.config = read_config(folder)
        self.detail = (
            "float32, torch.onnx export of transformers' GPT-2 with GroupQueryAttention on shared key/value buffers, "
            "ORT_ENABLE_ALL, CPUExecutionProvider; MLAS chooses its kernels by the CPU"
        )

    def open(self, batch: int) -> None:
        heads, positions = self.config["n_head"], self.config["n_positions"]
        shape = (batch, heads, positions, self.config["n_embd"] // heads)
        self.length, self.binding = 0, self.session.io_binding()
        inputs = [given.name for given in self.session.get_inputs()]
        outputs = [result.name for result in self.session.get_outputs()]
        self.given, self.logits = inputs[:4], outputs[0]
        self.binding.bind_output(self.logits, "cpu")  # before the others: results come in the order of binding
        for before, after in zip(inputs[4:], outputs[1:], strict=True):
            # The same buffer as past and as present: that is what spares the copy of the whole cache at each step.
            buffer = OrtValue.ortvalue_from_shape_and_type(shape, numpy.float32)
            self.binding.bind_ortvalue_input(before, buffer)
            self.binding.bind_ortvalue_output(after, buffer)

    def rewind(self, length: int) -> None:
        self.length = length

    def run(self, ids: numpy.ndarray) -> numpy.ndarray:
        batch, new = ids.shape
        end = self.length + new
        places = numpy.tile(numpy.arange(self.length, end), (batch, 1))
        last = numpy.full(batch, end - 1, numpy.int32)
        given = (ids, places, last, numpy.array(end, numpy.int32))
        for name, value in zip(self.given, given, strict=True):
            self.binding.bind_cpu_input(name, value)
        self.binding.bind_output(self.logits, "cpu")
        self.session.run_with_iobinding(self.binding)
        self.length = end
        return self.binding.get_outputs()[0].numpy()
