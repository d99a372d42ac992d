"""Typefaces by role, found by file name in the system's font directories. Knows nothing of slates.

All are under the SIL Open Font License, Apache 2.0, or the Bitstream Vera licence (DejaVu, Hack). GPL fonts are left
out on purpose. `PACKAGES` are the Debian packages that bring them:

    apt-get install --no-install-recommends $(python examples/slate/render.py --packages)

Without any, Pillow's own font stands in, so that everything runs; do not train or evaluate like that.
"""

from __future__ import annotations

import os
from functools import cache, lru_cache
from pathlib import Path

from PIL import ImageFont
from PIL.ImageFont import FreeTypeFont

__all__ = ["BUILT_IN", "DIGITAL", "HAND", "HELD_OUT_HAND", "HELD_OUT_PRINT", "PACKAGES", "PRINT", "font", "have"]

PACKAGES = tuple(
    f"fonts-{name}"
    for name in (
        *("anonymous-pro", "allerta", "bebas-neue", "breip", "bwht", "cabin", "cantarell", "comic-neue"),
        *("courier-prime", "crosextra-caladea", "crosextra-carlito", "dejavu-core", "dkg-handwriting", "dosis", "dseg"),
        *("hack", "humor-sans", "inter", "jetbrains-mono", "karla", "klee", "lato", "league-spartan", "liberation2"),
        *("manrope", "national-park", "open-sans", "play", "quattrocento", "quicksand", "roboto-slab"),
        *("roboto-unhinted", "routed-gothic", "smc-chilanka", "tomsontalks", "vollkorn", "yanone-kaffeesatz"),
        "yusei-magic",
    )
)


PRINT = (
    *("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSansMono-Bold.ttf"),
    *("LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf", "LiberationSans-BoldItalic.ttf"),
    *("LiberationSerif-Bold.ttf", "LiberationMono-Bold.ttf", "Anonymous Pro B.ttf", "allerta_medium.otf"),
    *("BebasNeue-Regular.otf", "BebasNeue-Bold.otf", "Cantarell-Bold.otf", "Caladea-Bold.ttf", "Dosis-Bold.otf"),
    *("Hack-Bold.ttf", "Inter-Medium.otf", "Inter-Bold.otf", "JetBrainsMono-Bold.ttf", "Karla-Bold.otf"),
    *("Lato-Regular.ttf", "Lato-Bold.ttf", "Lato-Black.ttf", "LeagueSpartan-Bold.otf", "Manrope-Bold.ttf"),
    *("OpenSans-Semibold.ttf", "OpenSans-CondBold.ttf", "OpenSans-Bold.ttf", "Quattrocento-Regular.otf"),
    *("Quicksand-Bold.ttf", "Roboto-Medium.ttf", "Roboto-Bold.ttf", "RobotoCondensed-Bold.ttf"),
    *("routed-gothic.ttf", "routed-gothic-narrow.ttf", "Vollkorn-Bold.ttf", "YanoneKaffeesatz-Bold.otf"),
)
HAND = (
    *("BecauseWeBuild-Regular.otf", "BecauseWeConnect-Regular.otf", "BecauseWeCreate-Regular.otf"),
    *("BecauseWeMentor-Regular.otf", "BecauseWeOrganize-Regular.otf", "ComicNeue-Bold.otf", "breipfont.ttf"),
    *("dkgBd.ttf", "YuseiMagic-Regular.ttf", "Chilanka-Regular.otf", "KleeOne-SemiBold.ttf"),
)
DIGITAL = ("DSEG7Classic-Bold.ttf", "DSEG7Modern-Bold.ttf", "DSEG14Classic-Bold.ttf")
"""Seven segments, for running timecodes."""

HELD_OUT_PRINT = (
    *("Carlito-Bold.ttf", "Carlito-Regular.ttf", "Cabin-Bold.otf", "RobotoSlab-Bold.otf", "RobotoSlab-Regular.otf"),
    *("NationalPark-Heavy.otf", "Courier Prime Bold.otf", "Play-Bold.ttf"),
)
HELD_OUT_HAND = ("BecauseWeLearn-Regular.otf", "Humor-Sans.ttf", "TomsonTalks.ttf")
"""Families that training never sees."""

BUILT_IN = ""
"""The name of Pillow's own font."""

DIRECTORIES = (
    Path("/usr/share/fonts"),
    Path("/usr/local/share/fonts"),
    Path.home() / ".local/share/fonts",
    Path.home() / ".fonts",
)


@cache
def _files() -> dict[str, str]:
    """Paths by file name."""
    found: dict[str, str] = {}
    for directory in DIRECTORIES:
        for folder, _, names in os.walk(directory):
            found.update({name: str(Path(folder) / name) for name in names})
    return found


@cache
def have(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of these typefaces that are installed, or Pillow's own if none is."""
    return tuple(name for name in names if name in _files()) or (BUILT_IN,)


@lru_cache(maxsize=512)  # all sizes of all typefaces take 450 MB a process; these 150, at 3 % of the time
def font(name: str, size: int) -> FreeTypeFont:
    """A typeface in one size. Raises OSError with the packages to install for one that is not there."""
    if name == BUILT_IN:
        built_in = ImageFont.load_default(size)
        assert isinstance(built_in, FreeTypeFont), "this Pillow was built without FreeType"
        return built_in
    if name not in _files():
        raise OSError(f"no font file {name!r} under {', '.join(map(str, DIRECTORIES))}; install {' '.join(PACKAGES)}")
    return ImageFont.truetype(_files()[name], size, layout_engine=ImageFont.Layout.BASIC)
