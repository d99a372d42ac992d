"""Places in the weight file of a quantized variant: one for what is alike, never one for what is not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx_ir as ir

from a2d.calibration.quantize.weight_file import CodeFile
from a2d.runtime.bundle.staging import Staging
from a2d.runtime.bundle.weight_file import WeightFile

TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_a_tied_table_that_is_coded_for_one_product_and_kept_for_another_has_two_places(tmp_path):
    tied = dict.fromkeys(("embedding", "lm_head"), SimpleNamespace(offset=64))
    weights = SimpleNamespace(source=SimpleNamespace(tensors=tied), weight=lambda name: TABLE)
    with Staging(tmp_path / "q.a2d", False) as staging:
        file = CodeFile(WeightFile("int8", staging), weights)
        codes = file.write("lm_head", lambda: TABLE.astype(np.int8), ir.DataType.INT8)
        scale = file.write("lm_head.scale", lambda: TABLE[:, 0], ir.DataType.FLOAT)
        kept = file.keep("embedding")
        assert (codes.dtype, kept.dtype, scale.nbytes) == (ir.DataType.INT8, ir.DataType.FLOAT, 16)
        assert len({codes.offset, kept.offset, scale.offset}) == 3 and kept.nbytes == TABLE.nbytes
        assert file.keep("lm_head").offset == kept.offset, "what is kept alike is kept once"
        assert {key.split(".")[0] for key in file.sizes} == {"64"}, "a step's bytes are counted by the source's place"
