"""Triton's gRPC service, as far as a client of a model repository needs it, on stock ONNX Runtime.

Not Triton: it shows that the files load as their configs say, and that a client speaks Triton's protocol.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime as ort
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype


def read_config(folder: Path) -> Any:
    """``config.pbtxt`` of a model as Triton's own message. Raises text_format.ParseError."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def load_session(folder: Path) -> ort.InferenceSession:
    """What Triton's ONNX Runtime backend makes of a model's folder."""
    config = read_config(folder)
    levels = {
        0: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
        -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    }
    options = ort.SessionOptions()
    options.graph_optimization_level = levels[config.optimization.graph.level]
    options.enable_mem_pattern = config.parameters["enable_mem_pattern"].string_value != "0"
    options.intra_op_num_threads = int(config.parameters["intra_op_thread_count"].string_value or 0)
    for library in config.model_operations.op_library_filename:
        options.register_custom_ops_library(library)
    model = folder / "1" / config.default_model_filename
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Service(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, repository: Path) -> None:
        self.configs = {config.parent.name: read_config(config.parent) for config in repository.glob("*/config.pbtxt")}
        self.sessions = {name: load_session(repository / name) for name in self.configs}

    def ModelMetadata(self, request: Any, context: Any) -> Any:
        del context
        config = self.configs[request.name]
        tensors = {
            kind: [
                {"name": one.name, "datatype": _datatype(one.data_type), "shape": one.dims}
                for one in getattr(config, kind)
            ]
            for kind in ("input", "output")
        }
        return service_pb2.ModelMetadataResponse(
            name=request.name, platform="onnxruntime_onnx", inputs=tensors["input"], outputs=tensors["output"]
        )

    def ModelInfer(self, request: Any, context: Any) -> Any:
        inputs = {}
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
            inputs[tensor.name] = np.frombuffer(raw, triton_to_np_dtype(tensor.datatype)).reshape(tensor.shape)
        names = [tensor.name for tensor in request.outputs]
        try:
            values = self.sessions[request.model_name].run(names, inputs)
        except Exception as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        for name, value in zip(names, values, strict=True):
            answer.outputs.add(name=name, datatype=np_to_triton_dtype(value.dtype), shape=value.shape)
            answer.raw_output_contents.append(value.tobytes())
        return answer


def start(repository: Path) -> tuple[grpc.Server, str]:
    """A running server and its address; call its ``stop``."""
    limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(2), options=limits)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Service(repository), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"


def _datatype(number: int) -> str:
    return model_config_pb2.DataType.Name(number).removeprefix("TYPE_")
