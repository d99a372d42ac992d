"""Errors of a2d, from the root down. Each message says what came, what was expected and what to do next.

    A2DError
    ├── EngineError            a graph cannot be loaded or run              (engines)
    ├── BundleError            a bundle is missing, broken or tampered with (runtime)
    ├── ContractError          a decode contract is incomplete or impossible
    ├── RequestError           a prompt, an image or an option is not usable
    │   ├── ContextFullError   the conversation does not fit the context
    │   ├── ImageError         a file is not a readable image within the budget
    │   └── ClipError          a file is not readable footage
    │       └── SoundOnlyError it is sound alone
    ├── NumericsError          a graph produced NaN or infinity
    ├── CheckpointError        a checkpoint is not what its config says      (export)
    └── ParityError            an exported graph does not equal its source

The tree stands in the lowest layer because every layer raises a part of it; nothing here knows what the parts mean.
"""

from __future__ import annotations

__all__ = [
    "A2DError",
    "BundleError",
    "CheckpointError",
    "ClipError",
    "ContextFullError",
    "ContractError",
    "EngineError",
    "ImageError",
    "NumericsError",
    "ParityError",
    "RequestError",
    "SoundOnlyError",
]


class A2DError(Exception):
    """Anything that a2d raises for its user. Catch this one in a host program."""


class EngineError(A2DError):
    """A graph cannot be loaded or run on this machine."""


class BundleError(A2DError):
    """A bundle is missing, incomplete, newer than this a2d, or not what its manifest says."""


class ContractError(A2DError, ValueError):
    """A decode contract lacks a field, or its fields contradict each other."""


class RequestError(A2DError, ValueError):
    """A prompt, an image or an option cannot be used as given."""


class ContextFullError(RequestError):
    """The prompt or the conversation does not fit into the context; nothing was changed."""


class ImageError(RequestError):
    """A file is not an image that can be read within the pixel budget."""


class ClipError(RequestError):
    """A file is no footage, is damaged, or changed while it was read."""


class SoundOnlyError(ClipError):
    """A file is a recording of sound without pictures."""


class NumericsError(A2DError):
    """A graph produced a value that is not finite."""


class CheckpointError(A2DError):
    """A checkpoint directory lacks something, or its tensors are not what its config says."""


class ParityError(A2DError):
    """An exported graph does not compute what the checkpoint computes."""
