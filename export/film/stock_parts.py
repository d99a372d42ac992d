"""The parts of a checkpoint that films as the classes of its own libraries: diffusers' and transformers', in float32.

Of network and text encoder one layer at a time holds weights, while it runs. Knows the classes and the names that they
give to tensors; nothing of a2d's reading of them. Whatever the libraries raise comes out as CheckpointError.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...engines.errors import CheckpointError
from ..checkpoint.pipeline import Pipeline
from ..families.quiet import quiet

__all__ = ["Autoencoder", "diffusers_names", "tokenizers", "umt5_rows", "wan_velocity"]


class Autoencoder:
    """A part that is diffusers' AutoencoderKLWan or AutoencoderTiny."""

    def __init__(self, pipeline: Pipeline, part: str) -> None:
        import diffusers  # noqa: PLC0415 - some seconds to import, and an export does without

        config = pipeline.configs[part]
        self.name = str(config["_class_name"])
        self._tiny = self.name == "AutoencoderTiny"
        with _told(f"diffusers' {self.name}"), quiet():
            self._model = getattr(diffusers, self.name).from_config(dict(config)).eval()
            names = _names(self._model, pipeline, part)
            self._model.load_state_dict({name: pipeline.read(f"{part}/{name}") for name in names})

    def decoded(self, latents: Tensor) -> Tensor:
        """`[1, C, T, h, w]` normalised to pixels `[N, H, W, 3]` in 0 to 1, the whole clip at once."""
        with _told(f"diffusers' {self.name}"), torch.no_grad():
            if self._tiny:
                groups = self._model.decoder(latents[0].transpose(0, 1)).unflatten(1, (-1, 3))
                shown = groups.flatten(0, 1)[groups.shape[1] - 1 :].permute(0, 2, 3, 1)
            else:
                mean, std = self._moments()
                shown = self._model.decode(latents * std + mean).sample[0].permute(1, 2, 3, 0)
        return (shown / 2 + 0.5).clamp(0, 1)

    def encoded(self, image: Tensor) -> Tensor:
        """`[1, H, W, 3]` in 0 to 1 to normalised latents `[1, C, 1, h, w]`."""
        picture = (image * 2 - 1).permute(0, 3, 1, 2)
        with _told(f"diffusers' {self.name}"), torch.no_grad():
            if self._tiny:
                frames = self._model.config.in_channels // 3
                made: Tensor = self._model.encoder(picture.repeat(1, frames, 1, 1)).unsqueeze(2)
                return made
            mean, std = self._moments()
            return (self._model.encode(picture.unsqueeze(2)).latent_dist.mode() - mean) / std

    def _moments(self) -> tuple[Tensor, Tensor]:
        config = self._model.config
        mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (config.latents_mean, config.latents_std))
        return mean, std


def wan_velocity(pipeline: Pipeline, latents: Tensor, times: Tensor, rows: Tensor) -> Tensor:
    """The velocity of latents `[1, C, F, h, w]` at a time for each row `[1, R]`, and of text `[1, L, dim]`."""
    import diffusers  # noqa: PLC0415 - as above

    kind: Any = diffusers.WanTransformer3DModel
    config = dict(pipeline.configs["transformer"])
    with _told("diffusers' WanTransformer3DModel"), torch.no_grad(), quiet():
        with torch.device("meta"):
            whole = kind.from_config(config)
        model = kind.from_config({**config, "num_layers": 0}).eval()  # with its buffers
        model.blocks = whole.blocks.eval()
        _filled(model, model.blocks, "blocks", pipeline, "transformer")
        made: Tensor = model(latents, times, rows, return_dict=False)[0]
    return made


def umt5_rows(pipeline: Pipeline, tokens: Tensor) -> Tensor:
    """The text encoder's rows `[1, L, dim]` of tokens `[1, L]`."""
    from transformers import UMT5Config, UMT5EncoderModel  # noqa: PLC0415 - as above

    with _told("transformers' UMT5EncoderModel"), torch.no_grad(), quiet():
        with torch.device("meta"):
            model = UMT5EncoderModel(UMT5Config.from_dict(dict(pipeline.configs["text_encoder"]))).eval()
        tables = ("shared.weight", "encoder.embed_tokens.weight")  # one, and too large to be widened
        _filled(model, model.encoder.block, "encoder.block", pipeline, "text_encoder", tables)
        looked_up = pipeline.read("text_encoder/shared.weight")[tokens].float()
        made: Tensor = model(inputs_embeds=looked_up).last_hidden_state
    return made


def tokenizers(pipeline: Pipeline) -> tuple[Any, Any]:
    """The tokenizer of transformers as tokenizer.json has it, and that of the class that its settings name."""
    import transformers  # noqa: PLC0415 - as above

    assert pipeline.tokenizer is not None, "Pipeline.open refuses a directory without one"
    folder, where = pipeline.tokenizer.parent, {"local_files_only": True, "trust_remote_code": False}
    with _told("transformers' tokenizer"), quiet():
        plain = transformers.PreTrainedTokenizerFast.from_pretrained(folder, **where)
        named = (folder / "tokenizer_config.json").is_file()
        return plain, transformers.AutoTokenizer.from_pretrained(folder, **where) if named else plain


def diffusers_names(names: Collection[str]) -> dict[str, str]:
    """Original names of a Wan network to those that diffusers' own conversion gives them."""
    from diffusers.loaders import single_file_utils  # noqa: PLC0415 - as above

    convert: Any = single_file_utils.convert_wan_transformer_to_diffusers
    with _told("diffusers' conversion of names"):
        made: dict[str, str] = convert({name: name for name in names})
    return {original: name for name, original in made.items()}


def _filled(
    model: nn.Module, layers: nn.ModuleList, where: str, pipeline: Pipeline, part: str, apart: Collection[str] = ()
) -> None:
    """Load all but the layers and the tables `apart`; layers are loaded when they run, and let go of."""
    names = [name for name in _names(model, pipeline, part, apart) if not name.startswith(f"{where}.")]
    read: Callable[[str], Tensor] = lambda name: pipeline.read(f"{part}/{name}").float()  # noqa: E731
    model.load_state_dict({name: read(name) for name in names}, strict=False, assign=True)
    for i, layer in enumerate(layers):
        _stream(layer, f"{where}.{i}.", read)


def _stream(layer: nn.Module, prefix: str, read: Callable[[str], Tensor]) -> None:
    def fill(module: nn.Module, _: Any) -> None:
        module.load_state_dict({name: read(prefix + name) for name in module.state_dict()}, assign=True)

    def empty(module: nn.Module, _: Any, __: Any) -> None:
        module.to("meta")

    layer.register_forward_pre_hook(fill)
    layer.register_forward_hook(empty)


def _names(model: nn.Module, pipeline: Pipeline, part: str, apart: Collection[str] = ()) -> list[str]:
    """Names of the class's tensors. Raises CheckpointError where the checkpoint lacks one."""
    names = [name for name in model.state_dict() if name not in apart]
    lost = [name for name in names if f"{part}/{name}" not in pipeline.files]
    if lost:
        raise CheckpointError(f"{type(model).__name__} does not find {len(lost)} of its tensors, {lost[0]} among them")
    return names


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever the library raises, in its own words."""
    try:
        yield
    except Exception as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{what} does not run it: {words[0]}") from error
