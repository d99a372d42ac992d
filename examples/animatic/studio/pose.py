"""How a figure holds itself in a frame: joints, in heights of the figure, from an action and its progress.

Knows nothing of colours, pixels or cameras.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["HEAD", "HIP", "NECK", "Limb", "Pose", "pose"]

HIP, NECK, HEAD = 0.5, 0.8, 0.075
"""Heights above the feet, and the head's radius."""
THIGH, SHIN, ARM, FOREARM = 0.25, 0.25, 0.16, 0.15

Point = tuple[float, float]
"""Across (to the right) and up, in heights of the figure, from where it stands."""


@dataclass(frozen=True)
class Limb:
    """Hip or shoulder, knee or elbow, foot or hand."""

    root: Point
    joint: Point
    end: Point


@dataclass(frozen=True)
class Pose:
    """A figure in a frame. `facing` is -1 for left, 1 for right, 0 for towards the camera."""

    facing: int
    hip: Point
    neck: Point
    head: Point
    far_leg: Limb
    near_leg: Limb
    far_arm: Limb
    near_arm: Limb
    seat: float = 0.0
    """Height of what it sits on."""


def pose(kind: str, facing: int, phase: float, amount: float) -> Pose:
    """Every kind has one signature, though few use all of it.

    Kinds: `walk` (phase: cycles), `stand`, `wave` (phase: cycles), `sit` and `reach` (amount: 0 to 1)."""
    return {"walk": _walk, "stand": _stand, "wave": _wave, "sit": _sit, "reach": _reach}[kind](facing, phase, amount)


def _limb(root: Point, first: float, second: float, lengths: Point, facing: int) -> Limb:
    """Angles from straight down, towards where the figure faces."""
    joint = root[0] + facing * lengths[0] * math.sin(first), root[1] - lengths[0] * math.cos(first)
    end = joint[0] + facing * lengths[1] * math.sin(second), joint[1] - lengths[1] * math.cos(second)
    return Limb(root, joint, end)


def _leg(root: Point, first: float, second: float, facing: int) -> Limb:
    return _limb(root, first, second, (THIGH, SHIN), facing)


def _arm(root: Point, first: float, second: float, facing: int) -> Limb:
    return _limb(root, first, second, (ARM, FOREARM), facing)


def _walk(facing: int, phase: float, amount: float) -> Pose:
    """`amount` is how much of a stride: 1 walking, 0 standing."""
    swing = math.sin(math.tau * phase) * amount
    bob = 0.012 * math.cos(2 * math.tau * phase) * amount - 0.012 * amount
    hip, lean = (0.0, HIP + bob), 0.03 * amount * facing
    neck = (lean, NECK + bob)
    head = (lean * 1.3 + 0.012 * facing, NECK + 0.115 + bob)
    legs = []
    for side, beat in ((1, swing), (-1, -swing)):
        lifted = max(0.0, math.cos(math.tau * phase) * side) * amount
        legs.append(_leg(hip, 0.5 * beat + 0.25 * lifted, 0.5 * beat - 0.75 * lifted, facing))
    shoulder = (neck[0], neck[1] - 0.035)
    arms = [_arm(shoulder, -0.55 * b, -0.55 * b + 0.25 * amount + 0.08, facing) for b in (swing, -swing)]
    return Pose(facing, hip, neck, head, legs[1], legs[0], arms[1], arms[0])


def _stand(facing: int, phase: float, amount: float) -> Pose:  # noqa: ARG001
    if facing:
        return _walk(facing, 0.0, 0.0)
    sway = 0.004 * math.sin(math.tau * phase)
    hip, neck = (sway, HIP), (sway, NECK)
    legs = [Limb((x + sway, HIP), (x * 1.25, 0.25), (x * 1.4, 0.0)) for x in (-0.052, 0.052)]
    arms = [_front_arm(side, sway, 0.16, 0.06) for side in (-1, 1)]
    return Pose(0, hip, neck, (sway, NECK + 0.115), legs[0], legs[1], arms[0], arms[1])


def _front_arm(side: int, sway: float, first: float, second: float) -> Limb:
    return _arm((side * 0.1 + sway, NECK - 0.035), first, second, side)


def _wave(facing: int, phase: float, amount: float) -> Pose:  # noqa: ARG001
    """The right arm on the screen, raised by `amount`, its forearm swinging."""
    base = _stand(0, phase, 0.0)
    upper = 0.16 + 1.9 * amount
    lower = 0.06 + (2.75 + 0.55 * math.sin(math.tau * phase)) * amount
    return Pose(
        0, base.hip, base.neck, base.head, base.far_leg, base.near_leg, base.far_arm, _front_arm(1, 0.0, upper, lower)
    )


def _sit(facing: int, phase: float, amount: float) -> Pose:  # noqa: ARG001
    """Standing at 0, seated at 1, seen from the side."""
    bend = amount * math.pi / 2 * 0.96
    shin = -0.1 * amount
    hip = (-facing * 0.24 * math.sin(bend) + facing * 0.12 * amount, SHIN * math.cos(shin) + THIGH * math.cos(bend))
    lean = 0.16 * math.sin(math.pi * amount) * facing
    neck = (hip[0] + lean, hip[1] + NECK - HIP)
    head = (neck[0] + lean * 0.4 + 0.012 * facing, neck[1] + 0.115)
    legs = [_leg((hip[0] + dx, hip[1]), bend, shin, facing) for dx in (-0.012, 0.012)]
    shoulder = (neck[0], neck[1] - 0.035)
    arms = [_arm(shoulder, 0.3 * amount + dx, 0.3 * amount + 0.9 * amount + 0.08, facing) for dx in (-0.06, 0.06)]
    return Pose(facing, hip, neck, head, legs[0], legs[1], arms[0], arms[1], seat=SHIN)


def _reach(facing: int, phase: float, amount: float) -> Pose:  # noqa: ARG001
    """Both arms stretched out to where it faces, by `amount`."""
    base = _walk(facing, 0.0, 0.0)
    lean = 0.05 * amount * facing
    neck, head = (base.neck[0] + lean, base.neck[1]), (base.head[0] + lean, base.head[1])
    shoulder = (neck[0], neck[1] - 0.035)
    arms = [_arm(shoulder, (0.9 + dx) * amount, 1.35 * amount + 0.08, facing) for dx in (-0.12, 0.12)]
    return Pose(facing, base.hip, neck, head, base.far_leg, base.near_leg, arms[0], arms[1])
