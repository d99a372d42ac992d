from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from a2d.engines import load_engine
from a2d.engines.errors import CheckpointError
from a2d.export.checkpoint.sources import assemble, stored_shape
from a2d.export.graphs.kind import Piece, trace_spec
from a2d.export.graphs.shapes import DecoderShape, Network, VisionShape
from a2d.export.graphs.vision import WINDOWS, from_config, sources
from a2d.export.precision import PRECISIONS
from a2d.export.write.graph_models import Builder
from a2d.export.write.piece_cache import default_folder
from a2d.runtime.inputs.patches import Patches, VisionSpec, prepare

CONFIG: dict[str, Any] = {
    "depth": 3,
    "hidden_size": 32,
    "hidden_act": "silu",
    "intermediate_size": 44,
    "num_heads": 2,
    "in_channels": 3,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 16,
    "out_hidden_size": 24,
    "fullatt_block_indexes": [1],
}


def config(merge: int = 2, full: tuple[int, ...] = (1,), act: str = "silu") -> dict[str, Any]:
    return CONFIG | {"spatial_merge_size": merge, "fullatt_block_indexes": list(full), "hidden_act": act}


def spec(merge: int) -> VisionSpec:
    return VisionSpec(
        patch_size=4,
        merge_size=merge,
        temporal_patch_size=2,
        window_size=16,
        in_channels=3,
        min_pixels=1,
        max_pixels=10**6,
        image_mean=(0.5, 0.5, 0.5),
        image_std=(0.3, 0.3, 0.3),
        rescale_factor=1 / 255,
        resample=3,
        image_token_id=1,
        video_token_id=2,
        vision_start_token_id=None,
        vision_end_token_id=None,
        tokens_per_second=4,
    )


def reference(values: dict[str, Any]) -> Any:
    """Transformers' tower with weights large enough for every term to count."""
    torch.manual_seed(0)
    tower = Qwen2_5_VisionTransformerPretrainedModel(Qwen2_5_VLVisionConfig(**values)).eval()
    for name, parameter in tower.requires_grad_(False).named_parameters():
        parameter.normal_(1.0 if "norm" in name or "ln_q" in name else 0.0, 0.2)
    return tower


def network(shape: VisionShape) -> Network:
    return Network(DecoderShape(1, shape.out_hidden, 2, 2, 4, 8, 24, 1e-6, (1.0, 0.5)), shape)


class Tower:
    """The vision program, computed by torch in any dtype."""

    def __init__(self, theirs: Any, shape: VisionShape, dtype: torch.dtype = torch.float32) -> None:
        state = theirs.state_dict()
        self.network, self.dtype = network(shape), dtype
        self.weights = {f"vision.{n}": assemble(s, state.__getitem__, dtype) for n, s in sources(shape, "").items()}
        self.used: set[str] = set()

    def __call__(self, **feeds: torch.Tensor) -> torch.Tensor:
        return WINDOWS.run(self.network, self, feeds)["features"]

    def apply(self, piece: Piece, inputs: dict[str, torch.Tensor], prefix: str = "") -> tuple[torch.Tensor, ...]:
        spec = trace_spec(piece, self.network, self.dtype)
        weights = {name: self.weights[prefix + name] for name in spec.weights}
        assert {n: (w.shape, w.dtype) for n, w in spec.module.named_parameters()} == {
            n: (w.shape, w.dtype) for n, w in weights.items()
        }
        self.used |= {prefix + name for name in weights}
        made = torch.func.functional_call(spec.module, weights, tuple(inputs[name] for name in spec.inputs))
        return made if isinstance(made, tuple) else (made,)


def example(shape: VisionShape, windows: int) -> dict[str, torch.Tensor]:
    rows = windows * shape.slots
    return {
        "pixels": torch.zeros(rows, shape.patch_values),
        "positions": torch.zeros(rows, 2, dtype=torch.int64),
        "real": torch.ones(rows, dtype=torch.bool),
        "order": torch.arange(rows // shape.merge**2),
    }


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def features(tower: Tower, pictures: list[Patches]) -> torch.Tensor:
    """One call per frame group, the results joined."""
    feeds = [feed for picture in pictures for feed in picture.feeds()]
    return torch.cat([tower(**{name: torch.from_numpy(x) for name, x in feed.items()}) for feed in feeds])


def wanted(theirs: Any, pictures: list[Patches], merge: int) -> torch.Tensor:
    """One call of transformers' tower for all pictures, in its own order of patches."""
    rows = [p.pixels.reshape(p.grid.t, -1, merge**2, p.pixels.shape[-1])[:, p.order] for p in pictures]
    pixels = torch.from_numpy(np.concatenate([row.reshape(-1, row.shape[-1]) for row in rows]))
    grid = torch.tensor([[p.grid.t, p.grid.h, p.grid.w] for p in pictures])
    return theirs(pixels, grid_thw=grid).pooler_output


PICTURES = {
    "one image, partial windows": [(24, 40, 1)],
    "one image, whole windows": [(32, 16, 1)],
    "one image, smaller than a window": [(8, 8, 1)],
    "two images": [(24, 40, 1), (48, 16, 1)],
    "video": [(24, 24, 5)],
    "image and video": [(16, 24, 1), (24, 16, 4)],
}


@pytest.mark.parametrize("sizes", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize(("merge", "full"), [(1, (1,)), (2, (1,)), (1, ()), (2, (0, 1, 2))], ids=str)
def test_features_equal_those_of_transformers(
    sizes: list[tuple[int, int, int]], merge: int, full: tuple[int, ...]
) -> None:
    values = config(merge, full)
    theirs = reference(values)
    tower = Tower(theirs, from_config(values))
    pictures = [
        prepare([noise(h, w, seed) for seed in range(frames)], spec(merge), is_video=frames > 1)
        for h, w, frames in sizes
    ]
    got, expected = features(tower, pictures), wanted(theirs, pictures, merge)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


def test_gelu_towers_work_as_well() -> None:
    values = config(act="gelu")
    theirs = reference(values)
    pictures = [prepare([noise(24, 40)], spec(2))]
    got = features(Tower(theirs, from_config(values)), pictures)
    torch.testing.assert_close(got, wanted(theirs, pictures, 2), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_equals_transformers(dtype: torch.dtype) -> None:
    theirs, shape = reference(config()), from_config(config())
    pictures = [prepare([noise(24, 40)], spec(2))]
    expected = wanted(theirs, pictures, 2)
    got = features(Tower(theirs, shape, dtype), pictures)
    half = wanted(theirs.to(dtype), pictures, 2).float()
    assert got.dtype == torch.float32
    # As far from float32 as transformers is, within a factor for the luck of rounding.
    assert (got - expected).abs().mean() < 1.5 * (half - expected).abs().mean()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_padding_never_gives_nan(dtype: torch.dtype) -> None:
    shape = from_config(config())
    tower = Tower(reference(config()), shape, dtype)
    inputs = example(shape, 3)
    for real in (torch.zeros_like(inputs["real"]), torch.arange(len(inputs["real"])) < shape.slots):
        assert tower(**inputs | {"real": real}).isfinite().all()


def test_padding_is_never_seen() -> None:
    shape = from_config(config())
    tower = Tower(reference(config()), shape)
    feed = {name: torch.from_numpy(x) for name, x in next(prepare([noise(24, 40)], spec(2)).feeds()).items()}
    loud = torch.where(feed["real"][:, None], feed["pixels"], 100.0)
    assert not feed["real"].all()
    assert torch.equal(tower(**feed), tower(**feed | {"pixels": loud}))


def exported(tower: Tower) -> ir.Model:
    model = Builder(tower.network, (PRECISIONS["fp32"],), ["vision"], default_folder()).build(
        "vision", PRECISIONS["fp32"]
    )
    for name, value in model.graph.initializers.items():
        if value.const_value is None:
            value.const_value = ir.tensor(tower.weights[name].contiguous().numpy(), name=name)
    return model


def test_the_graph_equals_the_program(tmp_path: Path) -> None:
    values = config() | {"depth": 2}
    tower = Tower(reference(values), from_config(values))
    ir.save(exported(tower), tmp_path / "vision.onnx")
    engine = load_engine("onnxruntime", tmp_path / "vision.onnx", threads=1)
    for size in [(8, 8), (24, 40), (64, 16)]:
        feed = next(prepare([noise(*size)], spec(2)).feeds())
        got = np.asarray(engine.run(feed)["features"])
        np.testing.assert_allclose(got, tower(**{n: torch.from_numpy(x) for n, x in feed.items()}), atol=1e-5)


def test_each_projection_is_one_matmul_with_a_constant() -> None:
    shape = from_config(config())
    graph = exported(Tower(reference(config()), shape)).graph
    products = [node for node in graph if node.op_type == "MatMul"]
    constant = [node for node in products if node.inputs[1].is_initializer()]
    # Embedding and merger have three, a block four, and attention itself two of activations.
    assert len(constant) == 3 + 4 * shape.depth
    assert len(products) == len(constant) + 2 * shape.depth
    assert not any("Gemm" in node.op_type for node in graph)


@pytest.mark.parametrize("merge", [1, 2])
def test_sources_name_every_parameter_and_every_tensor(merge: int) -> None:
    values = config(merge)
    shape = from_config(values)
    table = sources(shape)
    tower = Tower(reference(values), shape)
    tower(**example(shape, 2))
    assert tower.used == {f"vision.{name}" for name in table}
    assert {name: stored_shape(source) for name, source in table.items()} == {
        name.removeprefix("vision."): tuple(weight.shape) for name, weight in tower.weights.items()
    }
    tensors = {n: s for each in table.values() for n, s in zip(each.names, each.shapes, strict=True)}
    assert tensors == {f"visual.{n}": tuple(t.shape) for n, t in reference(values).state_dict().items()}
    assert set(sources(shape, "model.visual.")) == set(table)


def test_shape_and_spec_agree() -> None:
    for merge in (1, 2):
        shape = from_config(config(merge))
        assert shape.slots == spec(merge).slots_per_window
        assert shape.patch_values == spec(merge).patch_values


def test_old_names_and_missing_rope_parameters_are_read() -> None:
    values = CONFIG | {"in_chans": 3}
    del values["in_channels"]
    assert from_config(values) == from_config(CONFIG)
    rope = {"rope_parameters": {"rope_theta": 500, "rope_type": "axial"}}
    assert from_config(CONFIG | rope) == replace(from_config(CONFIG), rope_theta=500.0)


def test_full_attention_beyond_the_last_block_is_ignored() -> None:
    assert from_config(CONFIG | {"fullatt_block_indexes": [1, 7, 15]}) == from_config(CONFIG)


def test_missing_keys_are_listed_together() -> None:
    values = {key: value for key, value in CONFIG.items() if key not in ("depth", "window_size")}
    with pytest.raises(CheckpointError, match=r"lacks \['depth', 'window_size'\]"):
        from_config(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "relu6"}, r"hidden_act = 'relu6' is not one of \['gelu', 'silu'\]"),
        ({"depth": 0}, "depth = 0 is not a positive whole number"),
        ({"patch_size": [4, 4]}, "patch_size = .* is not a positive whole number"),
        ({"num_heads": 3}, r"hidden_size = 32 is no multiple of 4 \* 3 heads"),
        ({"window_size": 7}, "holds no merge group"),
        ({"fullatt_block_indexes": [-1]}, "is not a list of blocks"),
        ({"fullatt_block_indexes": 1}, "is not a list of blocks"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "not of rope_type 'axial'"),
        ({"rope_parameters": "axial"}, "not of rope_type 'axial'"),
    ],
)
def test_unusable_configs_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        from_config(CONFIG | change)
