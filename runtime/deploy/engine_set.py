"""Engines that were built of a bundle: where they lie, what is recorded of them, and whether they fit this machine.

    BUNDLE/engines/KEY/{backbone,denoise,sample,vision}.engine, a card beside each, engines.json last

The record is compared with the bundle, the library and the machine before an engine is touched. Knows records; neither
builds nor loads.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...engines.errors import BundleError, EngineError
from ..bundle.files import Bundle, sha256_of
from ..bundle.manifest import FileRecord
from ..schema import Violations, bounds, from_json, parse, to_json

__all__ = ["RECORD", "SCHEMA", "EngineSet", "EngineSetRecord", "Platform", "engine_sets", "find"]

RECORD = "engines.json"

SCHEMA = 1

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Platform:
    """The properties of a machine that an engine depends on."""

    system: str
    """`Linux`, `Windows`, ...: engines do not go from one to another."""
    arch: str
    """`x86_64`, `aarch64`, ..."""

    @staticmethod
    def here() -> Platform:
        """The machine that this runs on."""
        arch = platform.machine().lower()
        return Platform(platform.system(), {"amd64": "x86_64", "arm64": "aarch64"}.get(arch, arch))


@dataclass(frozen=True)
class EngineSetRecord:
    """The record of a set: what was built, of which files, for which machines."""

    schema: int = field(metadata=bounds(1, SCHEMA))
    bundle: str
    """The bundle's name."""
    library: str
    """`tensorrt` or `tensorrt_rtx`."""
    version: str
    """Release of the library: engines are not read by another release."""
    target: str
    sms: tuple[int, ...] = field(metadata=bounds(50, 999))
    """GPUs that the engines run on, by compute capability."""
    precision: str
    variant: str
    """The bundle's variant that they were built of."""
    context: int = field(metadata=bounds(1, 1 << 26))
    """Rows of cache that they hold."""
    block_size: int = field(metadata=bounds(1, 1 << 26))
    """Rows of the largest block."""
    kv_dtype: str
    """Number type of the cache that the engines read, by its numpy name."""
    machine: Platform
    driver: str | None
    """CUDA release of the driver on the machine that built them; None if there was none."""
    sources: dict[str, str]
    """SHA-256 of the bundle's files that they were built of."""
    files: dict[str, FileRecord]
    """Engines and their cards."""

    def dumps(self) -> str:
        """The record as JSON text."""
        return json.dumps(to_json(self), indent=1) + "\n"


@dataclass(frozen=True)
class EngineSet:
    """One set of engines on disk."""

    path: Path
    record: EngineSetRecord

    @staticmethod
    def open(path: Path) -> EngineSet:
        """Read the record of a folder. Raises BundleError that lists everything wrong with it."""
        try:
            raw = (path / RECORD).read_bytes()[: MAX_BYTES + 1]
            if len(raw) > MAX_BYTES:
                raise Violations([f"it holds more than {MAX_BYTES} bytes"])
            data = parse(raw.decode("utf-8"))
            schema = data.get("schema") if isinstance(data, dict) else None
            if isinstance(schema, int) and schema > SCHEMA:
                raise Violations([f"schema: got {schema}, this a2d reads up to {SCHEMA}; update a2d, or build again"])
            return EngineSet(path, from_json(EngineSetRecord, data))
        except OSError as error:
            raise BundleError(f"{path} holds no built engines: {error}") from error
        except (Violations, UnicodeDecodeError) as error:
            raise BundleError(f"{path / RECORD} is not a valid record of built engines:\n{error}") from error

    def file(self, graph: str) -> Path:
        """The engine of one graph. Raises BundleError if none was built."""
        name = f"{graph}.engine"
        if name not in self.record.files:
            raise BundleError(f"{self.path} has no engine for graph {graph!r}; build again: {self.rebuild()}")
        return self.path / name

    def faults(
        self, bundle: Bundle, versions: Mapping[str, str | None], machine: Platform, sm: int | None
    ) -> list[str]:
        """Why these engines cannot be used: here, and with this bundle. `sm` None asks nothing of the GPU."""
        r, m = self.record, bundle.manifest
        here = versions.get(r.library)
        lines = []
        if here != r.version:
            lines.append(f"built by {r.library} {r.version}, here is {here or 'none'}")
        if sm is not None and sm not in r.sms:
            lines.append(f"built for {', '.join(f'sm{s}' for s in r.sms)}, this GPU is sm{sm}")
        if machine != r.machine:
            theirs, ours = (f"{one.system} {one.arch}" for one in (r.machine, machine))
            lines.append(f"built on {theirs}, this is {ours}")
        changed = [name for name, sha in r.sources.items() if name not in m.files or m.files[name].sha256 != sha]
        if changed:
            lines.append(f"built of another {', '.join(changed)}: the bundle was exported or calibrated again")
        return lines

    def check(self, content: bool = True) -> None:
        """Compare the files with the record. Raises BundleError that lists every one that is missing or changed."""
        lines = [fault for name, wanted in self.record.files.items() if (fault := self._fault(name, wanted, content))]
        if lines:
            listed = "\n".join(f"  {line}" for line in lines)
            raise BundleError(f"{self.path} is damaged:\n{listed}\nBuild again: {self.rebuild()}")

    def _fault(self, name: str, wanted: FileRecord, content: bool) -> str | None:
        file = self.path / name
        if file.is_symlink() or not file.is_file():
            return f"{name}: missing, expected a file of {wanted.bytes} bytes"
        if (size := file.stat().st_size) != wanted.bytes:
            return f"{name}: holds {size} bytes, expected {wanted.bytes}"
        if content and sha256_of(file) != wanted.sha256:
            return f"{name}: its SHA-256 is not that of the record"
        return None

    def rebuild(self, bundle: Path | None = None, sm: int | None = None) -> str:
        """The command that builds such a set again, its settings in brackets, for one GPU or those it was built for."""
        r = self.record
        where = self.path.parent.parent if bundle is None else bundle
        gpus = () if r.target not in ("rtx",) else ((sm,) if sm is not None and sm not in r.sms else r.sms)
        named = f" sm={','.join(map(str, gpus))}" if gpus else ""
        place = "" if self.path.parent == where / "engines" else f" output={self.path.parent}"
        kept = f" context={r.context} block_size={r.block_size}"
        return f"a2d build {where} [target={r.target}{named} precision={r.precision}{kept}{place}]"


def engine_sets(folder: Path) -> Iterator[EngineSet]:
    """Every set under a folder, or the folder itself if it is one. Raises BundleError for a broken record."""
    places = [folder] if (folder / RECORD).is_file() else sorted(p.parent for p in folder.glob(f"*/{RECORD}"))
    yield from (EngineSet.open(place) for place in places if not place.name.startswith("."))


def find(
    bundle: Bundle,
    library: str,
    versions: Mapping[str, str | None],
    sm: int | None,
    *,
    precision: str | None = None,
    folder: Path | None = None,
    order: Sequence[str] = (),
) -> EngineSet:
    """The set of engines of `library` that fits: this bundle, this release, this machine, this GPU.

    `order`: precisions, best first, where several fit; `folder`: sets, `engines` in the bundle if None.

    Raises EngineError that says, of each set there is, why it does not fit, and prints the command that builds one.
    """
    place = bundle.path / "engines" if folder is None else folder
    held = [built for built in engine_sets(place) if built.record.library == library] if place.is_dir() else []
    held = [built for built in held if precision in (None, built.record.precision)]
    held.sort(key=lambda built: [*order, built.record.precision].index(built.record.precision))
    machine, refused = Platform.here(), []
    for built in held:
        faults = built.faults(bundle, versions, machine, sm)
        if not faults:
            return built
        rows = "\n".join(f"    {fault}" for fault in faults)
        refused.append(f"  {built.path.name}\n{rows}\n    build again: {built.rebuild(bundle.path, sm)}")
    if refused:
        raise EngineError(f"{place}: no engines that fit this machine:\n" + "\n".join(refused))
    target = "rtx" if library == "tensorrt_rtx" else "tensorrt"
    gpu = f" sm={sm}" if sm is not None and target == "rtx" else ""
    asked = f" precision={precision}" if precision is not None else ""
    raise EngineError(
        f"{place}: no engines of {library}{f' in {precision}' if precision else ''} have been built; "
        f"a2d build {bundle.path} [target={target}{gpu}{asked}]"
    )
