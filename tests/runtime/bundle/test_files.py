"""Bundles on disk: nothing is read that the manifest does not vouch for, and every fault is listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundles import CONTENT, MANIFEST, write
from toy import Toy, contract

from a2d.engines.errors import BundleError, RequestError
from a2d.runtime.bundle.files import Bundle, sha256_of
from a2d.runtime.decode.cache import CacheShape
from a2d.runtime.decode.session import Session
from a2d.runtime.load import load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "slate.a2d")


def test_a_whole_bundle_opens_and_checks(folder):
    bundle = Bundle.open(str(folder))
    assert bundle.manifest == MANIFEST
    bundle.check()
    bundle.check(bundle.needed("fp32"))


def test_needed_are_the_files_that_decoding_reads(folder):
    assert sorted(Bundle.open(folder).needed("fp32")) == sorted(CONTENT)


def test_unknown_precisions_list_the_known_and_say_how_to_get_more(folder):
    with pytest.raises(BundleError, match=r"got precision 'int3', this bundle holds fp32.*\[precision=fp32,int3\]"):
        Bundle.open(folder).variant("int3")


def test_what_is_no_bundle_says_how_to_make_one(folder, tmp_path):
    (folder / "manifest.json").unlink()
    for place, what in ((tmp_path / "none", "is not a folder"), (folder / "tokenizer.json", "is not a folder")):
        with pytest.raises(BundleError, match=f"{place.name}: {what}; a bundle is a folder, made by"):
            Bundle.open(place)
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        Bundle.open(folder)
    (folder / "manifest.json").mkdir()
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        Bundle.open(folder)


def test_a_manifest_that_is_a_link_is_refused(folder, tmp_path):
    (folder / "manifest.json").rename(tmp_path / "elsewhere.json")
    (folder / "manifest.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(BundleError, match=r"has a link as manifest\.json"):
        Bundle.open(folder)


def test_a_manifest_without_end_is_not_read_to_its_end(folder):
    with (folder / "manifest.json").open("r+b") as file:
        file.truncate(1 << 40)  # sparse: a terabyte that takes no room
    with pytest.raises(BundleError, match="expected at most"):
        Bundle.open(folder)


def damage(folder: Path, how: str) -> None:
    file = folder / "weights-fp32.bin"
    data = file.read_bytes()
    if how == "missing":
        file.unlink()
    elif how == "truncated":
        file.write_bytes(data[:-1])
    elif how == "longer":
        file.write_bytes(data + b"x")
    elif how == "tampered":
        file.write_bytes(data[:500] + b"x" + data[501:])
    elif how == "link":
        file.rename(folder.parent / "weights")
        file.symlink_to(folder.parent / "weights")
    elif how == "dangling":
        file.unlink()
        file.symlink_to(folder / "nothing")
    elif how == "folder":
        file.unlink()
        file.mkdir()


DAMAGES = {
    "missing": "weights-fp32.bin: missing, expected a file of 1000 bytes",
    "truncated": "weights-fp32.bin: holds 999 bytes, expected 1000",
    "longer": "weights-fp32.bin: holds 1001 bytes, expected 1000",
    "tampered": "weights-fp32.bin: SHA-256 is ",
    "link": "weights-fp32.bin: is a link, expected a file",
    "dangling": "weights-fp32.bin: is a link, expected a file",
    "folder": "weights-fp32.bin: missing, expected a file",
}


@pytest.mark.parametrize("how", list(DAMAGES))
def test_damaged_files_are_found(folder, how):
    damage(folder, how)
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder).check()
    assert DAMAGES[how] in str(caught.value)
    assert "is damaged" in str(caught.value) and "again" in str(caught.value)


@pytest.mark.parametrize("how", list(DAMAGES))
def test_nothing_damaged_is_loaded(folder, how):
    damage(folder, how)
    with pytest.raises(BundleError, match="is damaged"):
        load(folder)


def test_sizes_alone_miss_a_changed_byte_and_nothing_else(folder):
    damage(folder, "tampered")
    Bundle.open(folder).check(content=False)
    damage(folder, "truncated")
    with pytest.raises(BundleError, match="holds 999 bytes"):
        Bundle.open(folder).check(content=False)


def test_all_faults_are_listed_together(folder):
    damage(folder, "tampered")
    (folder / "tokenizer.json").unlink()
    (folder / "denoise-fp32.onnx").write_bytes(b"short")
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder).check()
    assert [name for name in CONTENT if f"  {name}:" in str(caught.value)] == [
        "denoise-fp32.onnx",
        "weights-fp32.bin",
        "tokenizer.json",
    ]


def test_only_the_files_asked_for_are_looked_at(folder):
    damage(folder, "tampered")
    Bundle.open(folder).check(["tokenizer.json"])


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "C:\\x", "a/b"])
def test_paths_that_leave_the_bundle_are_refused_before_a_file_is_touched(folder, name):
    data = json.loads((folder / "manifest.json").read_text())
    data["files"][name] = data["files"]["tokenizer.json"]
    data["words"]["text"]["tokenizer"] = name
    (folder / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match="a bundle has no folders"):
        load(folder)


def test_sums_are_those_of_the_whole_file(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_unknown_devices_list_the_known(folder):
    with pytest.raises(RequestError, match="device: got 'abacus', expected one of cpu"):
        load(folder, device="abacus")


@pytest.mark.parametrize(
    "shape",
    [
        CacheShape(4096, 2, 12, "float64"),
        CacheShape(2, 4096, 12, "float64"),
        CacheShape(2, 2, 8192, "float64"),
        CacheShape(2, 2, 12, "float16"),
        CacheShape(1, 2, 12, "float64"),
    ],
)
def test_a_cache_that_the_graph_does_not_read_is_refused_before_memory_is_taken(shape, monkeypatch):
    engines = Toy().engines()
    monkeypatch.setattr(engines("backbone"), "memory", None)
    message = f"speaks of {shape.layers} layers with {shape.kv_heads} {shape.dtype} heads of {shape.head_dim}"
    with pytest.raises(BundleError, match=f"{message}, but the backbone reads 4 caches: past_key_0 float64"):
        Session(engines, contract(), shape, 100)
