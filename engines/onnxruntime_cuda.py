"""ONNX Runtime's CUDA provider: the GPU engine where nothing was built.

Works on a2d's own device memory and stream, so that its buffers are those of every other engine on the GPU, and nothing
waits between the graphs of a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._import_onnxruntime import ort
from .cuda import CudaBuffer, Device
from .cuda_engine import CudaEngine
from .errors import EngineError
from .protocol import Signature

__all__ = ["CudaOnnxRuntimeEngine", "provider_options"]


def provider_options(gpu: Device) -> dict[str, str]:
    """Options that make the provider use our device and our stream."""
    return {"device_id": str(gpu.ordinal), "user_compute_stream": str(int(gpu.stream))}


class CudaOnnxRuntimeEngine(CudaEngine):
    """One session of the CUDA provider."""

    KIND = "cuda"
    """ONNX Runtime's name for the memory that the addresses are in."""

    def __init__(
        self,
        graph: str,
        session: Any,
        inputs: Mapping[str, Signature],
        outputs: Mapping[str, Signature],
        gpu: Device,
    ) -> None:
        provider = session.get_providers()[0]
        super().__init__(graph, inputs, outputs, gpu, f"ONNX Runtime {ort.__version__}, {provider}, {gpu.name}")
        self._session = session
        self._options = ort.RunOptions()
        # The stream is ours: whoever reads a result waits for it.
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def _issue(self, feeds: Mapping[str, CudaBuffer], axes: Mapping[str, int]) -> dict[str, CudaBuffer]:
        binding = self._session.io_binding()
        for name, buffer in feeds.items():
            binding.bind_input(name, *self._place(buffer))
        made = {name: self._output(signature, axes) for name, signature in self.outputs.items()}
        for name, buffer in made.items():
            binding.bind_output(name, *self._place(buffer))
        try:
            self._session.run_with_iobinding(binding, self._options)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise EngineError(f"{self.graph}: ONNX Runtime failed: {error}") from error
        return made

    def _output(self, signature: Signature, axes: Mapping[str, int]) -> CudaBuffer:
        shape = [axes[axis] if isinstance(axis, str) else axis for axis in signature.shape]
        return self.memory.empty(shape, signature.dtype)

    def _place(self, buffer: CudaBuffer) -> tuple[str, int, Any, tuple[int, ...], int]:
        return self.KIND, self._gpu.ordinal, np.dtype(buffer.dtype).type, buffer.shape, buffer.address
