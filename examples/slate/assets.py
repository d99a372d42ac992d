"""Fetch what the drawing paths draw with: typefaces from the npm registry, photographs that Debian packages brought.

    apt-get install --no-install-recommends $(python examples/slate/assets.py --packages)
    python examples/slate/assets.py --out build/slate-assets

Writes `print/`, `hand/`, `print-held-out/`, `hand-held-out/` (TrueType files), `photos/` and `photos-held-out/` (small
JPEGs), and `licences.json`. The drawing paths find the folder by the environment variable A2D_SLATE_ASSETS.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path

from fontTools.ttLib import TTFont
from PIL import Image
from recipe.families import HANDS, LATER_HANDS, LATER_PRINTS, LICENCES, PRINTS, held_out

PACKAGES = (
    *("mate-backgrounds", "lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "ukui-wallpapers"),
    *("plasma-workspace-wallpapers", "gnome-backgrounds"),
)
"""Debian packages with photographs under open licences."""

PHOTOGRAPHS = (Path("/usr/share/backgrounds"), Path("/usr/share/wallpapers"))
WEIGHTS = ("400", "700")
NEEDED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-./:,"
SIZE = (960, 540)
"""Of a photograph."""


def typefaces(families: tuple[str, ...], role: str, modules: Path, out: Path) -> dict[str, str]:
    """Convert the Latin files of each family; returns the licence of each."""
    said = {}
    for family in families:
        package = modules / "@fontsource" / family
        licence = json.loads((package / "package.json").read_text(encoding="utf-8")).get("license", "none")
        if licence not in LICENCES:
            print(f"left out: {family} is under {licence}", file=sys.stderr)
            continue
        said[family] = licence
        folder = out / (f"{role}-held-out" if held_out(family) else role)
        folder.mkdir(parents=True, exist_ok=True)
        for weight in WEIGHTS:
            source = package / "files" / f"{family}-latin-{weight}-normal.woff"
            if source.is_file():
                _converted(source, folder / f"{family}-{weight}.ttf")
    return said


def _converted(source: Path, target: Path) -> None:
    face = TTFont(source)
    if set(map(ord, NEEDED)) - set(face.getBestCmap()):
        print(f"left out: {source.name} lacks characters", file=sys.stderr)
        return
    face.flavor = None
    face.save(target)


def photographs(out: Path) -> int:
    """Small copies of the photographs that are installed, one in five of them held out."""
    seen = set()
    for path in sorted(p for folder in PHOTOGRAPHS for p in folder.rglob("*") if p.suffix in (".jpg", ".png", ".webp")):
        if path.stem in ("screenshot", "1080x1920", "720x1440") or not path.is_file():
            continue
        with Image.open(path) as image:
            small = image.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
        key = hashlib.sha256(small.tobytes()).hexdigest()[:12]
        if key in seen:
            continue
        seen.add(key)
        folder = out / ("photos-held-out" if int(key, 16) % 5 == 0 else "photos")
        folder.mkdir(parents=True, exist_ok=True)
        small.save(folder / f"{key}.jpg", quality=92)
    return len(seen)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/slate-assets"))
    parser.add_argument("--modules", type=Path, help="node_modules with the packages; else npm installs them there")
    parser.add_argument("--packages", action="store_true", help="print the Debian packages with photographs and stop")
    chosen = parser.parse_args(arguments)
    if chosen.packages:
        print(" ".join(PACKAGES))
        return 0
    chosen.out.mkdir(parents=True, exist_ok=True)
    modules = chosen.modules or chosen.out / "node_modules"
    prints, hands = PRINTS + LATER_PRINTS, HANDS + LATER_HANDS
    if chosen.modules is None:
        names = [f"@fontsource/{family}" for family in (*prints, *hands)]
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(chosen.out), *names]
        subprocess.run(command, check=True)
    said = typefaces(prints, "print", modules, chosen.out) | typefaces(hands, "hand", modules, chosen.out)
    (chosen.out / "licences.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    print(f"{len(said)} families, {photographs(chosen.out)} photographs in {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
