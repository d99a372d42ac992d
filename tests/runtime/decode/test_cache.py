"""The cache: rows come back as they were appended, memory grows in chunks and is left alone in between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2d.engines.errors import EngineError
from a2d.engines.host import HostBuffer, HostMemory
from a2d.runtime.decode.cache import CHUNK, Cache, CacheShape

SHAPE = CacheShape(layers=2, kv_heads=3, head_dim=4, dtype="float32")
NAMES = ["key_0", "value_0", "key_1", "value_1"]


def rows(count: int, first: float) -> dict[str, HostBuffer]:
    """New rows for every buffer, each number another."""
    size = 3 * count * 4
    return {
        f"new_{name}": HostBuffer((np.arange(size, dtype=np.float32) + first + 10**4 * i).reshape(1, 3, count, 4))
        for i, name in enumerate(NAMES)
    }


def held(cache: Cache) -> dict[str, np.ndarray]:
    return {name: buffer.numpy()[..., : cache.length, :] for name, buffer in cache.feeds().items()}


def test_names_are_those_of_the_backbone():
    cache = Cache(SHAPE, HostMemory())
    assert list(cache.feeds()) == [f"past_{name}" for name in NAMES]
    assert list(cache.outputs()) == [f"new_{name}" for name in NAMES]
    assert {buffer.shape for buffer in cache.feeds().values()} == {(1, 3, CHUNK, 4)}


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 5), st.integers(0, 200)), max_size=6))
def test_rows_come_back_as_they_were_appended(turns):
    """Appends of some rows of which the last few are left out, and truncations in between."""
    cache = Cache(SHAPE, HostMemory())
    expected = {f"past_{name}": np.empty((1, 3, 0, 4), np.float32) for name in NAMES}
    for turn, (count, dropped, kept) in enumerate(turns):
        new = rows(count + dropped, 1000.0 * turn)
        cache.append(new, count)
        cache.truncate(kept)
        for name in NAMES:
            past = np.concatenate([expected[f"past_{name}"], new[f"new_{name}"].array[..., :count, :]], axis=2)
            expected[f"past_{name}"] = past[..., :kept, :]
        assert cache.length == expected["past_key_0"].shape[2]
        assert cache.length <= cache.capacity and cache.capacity % CHUNK == 0
        assert all(np.array_equal(array, expected[name]) for name, array in held(cache).items())


def test_buffers_stay_the_same_until_the_chunk_is_full():
    cache = Cache(SHAPE, HostMemory())
    before = cache.feeds()
    cache.append(rows(CHUNK, 1), CHUNK)
    assert all(cache.feeds()[name] is buffer for name, buffer in before.items())
    cache.append(rows(1, 2), 1)
    assert cache.capacity == 2 * CHUNK
    assert not any(cache.feeds()[name] is buffer for name, buffer in before.items())


def test_a_large_append_grows_once():
    cache = Cache(SHAPE, HostMemory())
    cache.append(rows(3 * CHUNK + 1, 1), 3 * CHUNK + 1)
    assert cache.capacity == 4 * CHUNK


def test_truncating_to_more_than_there_is_changes_nothing():
    cache = Cache(SHAPE, HostMemory())
    cache.append(rows(5, 1), 5)
    cache.truncate(9)
    assert cache.length == 5


def test_new_rows_of_another_shape_are_refused():
    cache = Cache(SHAPE, HostMemory())
    other = {name: HostBuffer(buffer.array[:, :2]) for name, buffer in rows(4, 1).items()}
    with pytest.raises(EngineError, match="cannot copy 4 rows"):
        cache.append(other, 4)


@pytest.mark.parametrize(("dtype", "width"), [("float32", 4), ("float16", 2), ("bfloat16", 2)])
def test_bytes(dtype, width):
    assert CacheShape(5, 3, 16, dtype).bytes(100) == 2 * 5 * 3 * 16 * 100 * width
