"""A scene in the words of a shot list: many ways to say one thing, some things left unsaid.

Knows words; nothing of pixels. `sentence` says everything that is measured, `loosely` may leave out what has a
natural default or what the viewer does not mind.
"""

from __future__ import annotations

from random import Random

from .scene import Scene

__all__ = ["WORDS", "loosely", "sentence"]

WORDS: dict[str, tuple[str, ...]] = {
    "dawn": ("dawn", "daybreak", "sunrise", "early morning", "first light"),
    "day": ("day", "daylight", "midday", "noon", "broad daylight"),
    "dusk": ("dusk", "sunset", "golden hour", "evening", "sundown"),
    "night": ("night", "at night", "nighttime", "midnight", "moonlight"),
    "street": ("street", "city street", "ext. street", "on a street", "downtown"),
    "forest": ("forest", "in the woods", "ext. forest", "among trees", "woodland"),
    "field": ("field", "open field", "ext. field", "meadow", "countryside"),
    "room": ("room", "int. room", "in a room", "interior", "indoors"),
    "wide": ("wide", "wide shot", "WS", "long shot", "establishing shot"),
    "medium": ("medium", "medium shot", "MS", "mid shot", "waist shot"),
    "close": ("close", "close-up", "CU", "close shot", "tight shot"),
    "static": ("static", "locked off", "static camera", "fixed camera", "camera holds"),
    "pan left": ("pan left", "slow pan left", "camera pans left", "panning left"),
    "pan right": ("pan right", "slow pan right", "camera pans right", "panning right"),
    "tilt up": ("tilt up", "slow tilt up", "camera tilts up", "tilting up"),
    "tilt down": ("tilt down", "slow tilt down", "camera tilts down", "tilting down"),
    "push in": ("push in", "slow push in", "dolly in", "camera pushes in", "track in"),
    "pull back": ("pull back", "slow pull back", "dolly out", "camera pulls back", "pull out"),
    "crate": ("crate", "wooden crate", "box"),
    "ball": ("ball", "pink ball"),
    "lantern": ("lantern", "glowing lantern", "lamp"),
}
"""Synonyms; the first is the plainest."""
COUNTS = ("", "one figure", "two figures", "three figures")
LONE = ("a figure in {c}", "one figure in {c}", "a {c} figure", "a lone {c} figure", "someone in {c}")
SEVERAL = ("{n} figures in {cs}", "{n} figures, {cs},", "{n} people in {cs}")
VERBS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "stand": (("stands", "stands still", "waits"), ("stand", "stand still", "wait")),
    "walk": (
        ("walks {h}", "walks to the {h}", "crosses to the {h}"),
        ("walk {h}", "walk to the {h}", "cross to the {h}"),
    ),
    "stop": (
        ("walks {h} and stops", "walks {h}, then stops", "comes to a stop walking {h}"),
        ("walk {h} and stop", "walk {h}, then stop", "come to a stop walking {h}"),
    ),
    "sit": (("sits down", "takes a seat", "sits"), ("sit down", "take a seat", "sit")),
    "wave": (("waves", "waves hello", "raises a hand and waves"), ("wave", "wave hello", "raise a hand and wave")),
}  # fmt: skip
"""For one, for several."""
WHERE = {
    "left": ("on the left", "frame left", "at left"),
    "centre": ("in the centre", "centre frame", "in the middle"),
    "right": ("on the right", "frame right", "at right"),
}
UNSAID = 0.15
"""How often `loosely` leaves a thing out."""


def sentence(scene: Scene, rng: Random) -> str:
    """Everything said."""
    return _joined(scene, rng, set())


def loosely(scene: Scene, rng: Random) -> str:
    """Something may be left out: a camera that does not move, costumes, the place, the hour."""
    out = {what for what in ("time", "place", "colours", "side") if rng.random() < UNSAID}
    if scene.camera == "static" and rng.random() < 0.3:
        out.add("camera")
    return _joined(scene, rng, out)


def _joined(scene: Scene, rng: Random, out: set[str]) -> str:
    """Size, place and time, who does what, camera; the first three in any order, the camera last or first of all."""
    start = [_word(scene.size, rng)]
    start += [_word(getattr(scene, what), rng) for what in ("place", "time") if what not in out]
    if rng.random() < 0.4:
        rng.shuffle(start)
    parts = [*start, _who(scene, rng, out)]
    if scene.thing != "none" and scene.action != "exchange":
        parts.append(
            rng.choice(("a {} nearby", "a {} beside", "with a {}", "next to a {}")).format(_word(scene.thing, rng))
        )
    if "camera" not in out:
        parts.insert(0 if rng.random() < 0.15 else len(parts), _word(scene.camera, rng))
    text = ", ".join(parts).replace(",,", ",")
    return text[0].upper() + text[1:] + "." if rng.random() < 0.3 else text


def _word(key: str, rng: Random) -> str:
    return WORDS[key][0] if rng.random() < 0.4 else rng.choice(WORDS[key])


def _who(scene: Scene, rng: Random, out: set[str]) -> str:
    count, colours = len(scene.figures), scene.figures
    if scene.action == "exchange":
        return _handing(scene, rng, out)
    verb = rng.choice(VERBS[scene.action][count > 1]).format(h=scene.heading)
    if "colours" in out:
        who = COUNTS[count]
    elif count == 1:
        who = rng.choice(LONE).format(c=colours[0])
    else:
        listed = f"{', '.join(colours[:-1])} and {colours[-1]}"
        who = rng.choice(SEVERAL).format(n=("two", "three")[count - 2], cs=listed)
    said = [who, verb]
    if count == 1 and scene.action in {"stand", "sit", "wave"} and "side" not in out:
        said.append(rng.choice(WHERE[scene.side]))
    return " ".join(said)


def _handing(scene: Scene, rng: Random, out: set[str]) -> str:
    giver, taker = scene.figures if scene.heading == "right" else scene.figures[::-1]
    thing = _word(scene.thing, rng)
    way = "left to right" if scene.heading == "right" else "right to left"
    if "colours" in out:
        return rng.choice(
            (
                f"two figures exchange a {thing}",
                f"a {thing} goes from {way} between two figures",
            )
        )
    where = f"on the {'left' if scene.heading == 'right' else 'right'}"
    return rng.choice((
        f"the {giver} figure {where} hands a {thing} to the {taker} figure",
        f"a {giver} figure {where} gives a {thing} to a {taker} figure",
        f"the figure in {giver} {where} passes a {thing} to the figure in {taker}",
    ))  # fmt: skip
