"""The reading half of Cosmos 3, Edge and omni, with pictures, against transformers' classes of the same tensors."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("diffusers")
import torch
from torch.nn.functional import interpolate
from towers_checkpoints import PICTURES, PROCESSORS, RECIPES, Opened, seeing

from a2d.engines.errors import CheckpointError
from a2d.runtime.inputs.packed import cornered, prepare_packed, shares
from a2d.runtime.inputs.prompt import PromptBuilder
from a2d.runtime.inputs.tokenizer import ChatTemplate, Text


@pytest.fixture(scope="module", params=PROCESSORS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp(request.param)
    _, model = seeing(folder, RECIPES[request.param])
    return model, Opened(folder), folder, PROCESSORS[request.param].from_pretrained(folder)


def builder(opened: Opened, folder) -> PromptBuilder:
    words = opened.plan.resolved.words
    template = opened.plan.resolved.files[words.text.chat_template].decode()
    vision = opened.engine("vision")

    def encode(patches):
        return patches.joined([vision.run(feeds)["features"] for feeds in patches.feeds()])

    text = Text(folder / "text_tokenizer" / "tokenizer.json")
    special = ChatTemplate(template, words.text.special_tokens)
    return PromptBuilder("mrope", words.model.vocab, text, special, words.vision, encode)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[], [(40, 64)], [(33, 90), (16, 16), (80, 8)], [(5, 9)]])
def test_logits_are_those_of_transformers(made, sizes):
    model, opened, folder, processor = made
    rng = np.random.default_rng(len(sizes))
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    prompt = builder(opened, folder).from_text("What is in this board?", pictures)
    ids = torch.from_numpy(np.asarray(prompt.rows.tokens))[None]
    more = {}
    if pictures:
        seen = processor(images=pictures, return_tensors="pt")
        types = (ids == PICTURES["image"]).int()
        more = {"pixel_values": seen["pixel_values"], "image_grid_thw": seen["image_grid_thw"]}
        more["mm_token_type_ids"] = types
    wanted = model(input_ids=ids, attention_mask=torch.ones_like(ids), **more).logits[0].numpy()

    engine, count = opened.engine("backbone"), ids.shape[1]
    feeds = {name: np.zeros((1, s.shape[1], 0, s.shape[3]), np.float32)
             for name, s in engine.inputs.items() if name.startswith("past_")}  # fmt: skip
    width = engine.inputs["features"].shape[-1]
    features = np.zeros((count, width), np.float32) if prompt.rows.features is None else prompt.rows.features
    is_feature = np.zeros(count, bool) if prompt.rows.is_feature is None else prompt.rows.is_feature
    feeds |= {"tokens": ids.numpy(), "positions": np.asarray(prompt.rows.positions)[:, None],
              "features": features[None], "is_feature": is_feature[None],
              "visible": np.tri(count, dtype=bool)[None, None]}  # fmt: skip
    head = model.lm_head.weight.numpy().T
    logits = engine.run(feeds, ["hidden"])["hidden"][0] @ head
    assert np.abs(wanted).max() > 1
    np.testing.assert_allclose(logits, wanted, atol=1e-4)
    deep = opened.plan.family.network.decoder.deep
    if pictures and deep:
        feeds["features"][..., -features.shape[1] // (1 + deep) :] = 0
        assert np.abs(engine.run(feeds, ["hidden"])["hidden"][0] @ head - wanted).max() > 1e-2, "the last depth counts"


@pytest.mark.parametrize(("source", "target"), [(5, 2), (5, 5), (5, 9), (16, 30), (16, 7), (5, 1)])
@pytest.mark.parametrize("corners", [False, True])
def test_shares_are_those_of_torch(source, target, corners):
    eye = torch.eye(source)[None, :, :, None].expand(-1, -1, -1, 2)
    wanted = interpolate(eye, (target, 2), mode="bilinear", align_corners=corners, antialias=not corners)[0, :, :, 0].T
    np.testing.assert_allclose((cornered if corners else shares)(source, target), wanted.numpy(), atol=2e-6)


def test_a_picture_of_another_place_is_seen(made):
    _, opened, *_ = made
    spec = opened.plan.resolved.words.vision
    picture = np.zeros((40, 64, 3), np.uint8)
    picture[:8, :8] = 255
    other = picture[::-1, ::-1].copy()
    vision = opened.engine("vision")
    one, two = (
        next(iter([vision.run(f)["features"] for f in prepare_packed(p, spec).feeds()])) for p in (picture, other)
    )
    assert one.shape[1] == opened.plan.family.network.decoder.feature_values
    assert np.abs(one - two[::-1]).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"deepstack_visual_indexes": [0, 4]}, "different layers of 4"),
        ({"deepstack_visual_indexes": "all"}, "different layers of 4"),
        ({"deepstack_visual_indexes": [0, 1, 2]}, "3 layers, whose features"),
        ({"deepstack_visual_indexes": [0]}, "extra"),
        ({"num_position_embeddings": 24}, "square"),
        ({"out_hidden_size": 64}, "out_hidden_size"),
        ({"hidden_act": "silu"}, "hidden_act"),
        ({"patch_size": 8}, "preprocessor_config.json|shape"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type"),
    ],
)
def test_towers_that_cannot_be_say_why(tmp_path, changes, said):
    seeing(tmp_path, RECIPES["nano"])
    path = tmp_path / "vision_encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(CheckpointError, match=said):
        Opened(tmp_path)
