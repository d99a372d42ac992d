"""Where the camera is, frame by frame, and where it puts things. Knows no layers and no figures."""

from __future__ import annotations

from dataclasses import dataclass

from .scene import Scene

__all__ = ["FPS", "FRAMES", "HEIGHT", "PAN", "TILT", "WIDTH", "ZOOM", "View", "views"]

WIDTH, HEIGHT = 192, 112
FRAMES, FPS = 17, 8
PAN, TILT, ZOOM = 56.0, 30.0, 1.4
"""Pixels of the ground, and the factor, from the first frame to the last."""


@dataclass(frozen=True)
class View:
    """One frame's camera: its centre in pixels of the unmoved shot, and its magnification."""

    x: float = 0.0
    y: float = 0.0
    zoom: float = 1.0

    def depth_zoom(self, depth: float) -> float:
        """The magnification of what lies at a depth: 0 at infinity, 1 where the figures are."""
        return float(self.zoom ** (0.25 + 0.75 * depth))

    def place(self, x: float, y: float, depth: float = 1.0) -> tuple[float, float]:
        """Where a point of the unmoved shot appears."""
        zoom = self.depth_zoom(depth)
        cx, cy = WIDTH / 2, HEIGHT / 2
        return (x - cx - self.x * depth) * zoom + cx, (y - cy - self.y * depth) * zoom + cy


def views(scene: Scene, frames: int = FRAMES) -> list[View]:
    """The camera of every frame."""
    return [_view(scene.camera, frame / (frames - 1)) for frame in range(frames)]


def _view(move: str, progress: float) -> View:
    centred = progress - 0.5
    return {
        "static": View(),
        "pan left": View(x=-PAN * centred),
        "pan right": View(x=PAN * centred),
        "tilt up": View(y=-TILT * centred),
        "tilt down": View(y=TILT * centred),
        "push in": View(zoom=ZOOM**progress),
        "pull back": View(zoom=ZOOM ** (1 - progress)),
    }[move]
