"""Device memory, staging and graphs of work, on a driver that is played; and what is said where there is none."""

from __future__ import annotations

import gc

import fake_cuda
import numpy as np
import pytest

from a2d.engines import cuda
from a2d.engines.cuda import STAGE, Device, device
from a2d.engines.errors import EngineError


@pytest.fixture
def driver() -> fake_cuda.Driver:
    return fake_cuda.Driver(total=1 << 20)


@pytest.fixture
def gpu(driver) -> Device:
    return Device(driver, 0)


def test_what_the_device_is(gpu):
    assert (gpu.sm, gpu.name, gpu.driver()) == (89, "Imaginary GPU", "13.0")
    assert gpu.free_bytes() == (1 << 20, 1 << 20)


def test_memory_that_was_let_go_is_used_again(gpu, driver):
    first = gpu.memory.zeros((10, 4), "float32")
    address = first.address
    del first
    gc.collect()
    used = driver.used
    assert gpu.memory.zeros((11, 4), "float32").address == address
    assert driver.used == used


def test_a_full_device_first_gives_up_what_it_kept(gpu, driver):
    kept = [gpu.memory.zeros((100_000,), "float32") for _ in range(2)]
    kept.clear()
    gc.collect()
    assert driver.used > 700_000
    assert gpu.memory.zeros((200_000,), "float32").nbytes == 800_000
    assert driver.used < 900_000


def test_a_device_that_is_full_says_what_to_lower(gpu):
    held = gpu.memory.zeros((100_000,), "float32")
    with pytest.raises(
        EngineError, match=r"out of memory\. 3,200,000 bytes were asked for\. Lower the setting max_tokens"
    ):
        gpu.memory.zeros((800_000,), "float32")
    assert not held.numpy().any()


def test_an_array_may_change_right_after_it_was_uploaded(gpu):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    buffer = gpu.memory.uploaded(array)
    array[:] = 0
    assert buffer.numpy().tolist() == np.arange(12).reshape(3, 4).tolist()


def test_small_feeds_wait_only_when_the_stage_is_used_up(gpu, driver):
    before = driver.waits
    piece = np.zeros(STAGE // 64, np.uint8)
    buffers = [gpu.memory.uploaded(piece) for _ in range(8)]
    assert driver.waits == before
    for _ in range(64):
        gpu.memory.uploaded(piece)
    assert driver.waits == before + 1 and len(buffers) == 8


def test_feeds_beyond_the_stage_arrive_whole():
    gpu = Device(fake_cuda.Driver(total=1 << 26), 0)
    large = np.arange(STAGE // 8 + 5, dtype=np.int64)
    assert np.array_equal(gpu.memory.uploaded(large).numpy(), large)


def test_several_results_cost_one_wait(gpu, driver):
    buffers = [gpu.memory.uploaded(np.full((2, i), i, np.int64)) for i in range(5)]
    before = driver.waits
    assert [a.tolist() for a in gpu.download(buffers)] == [[[i] * i] * 2 for i in range(5)]
    assert driver.waits == before + 1


def test_captured_work_is_done_again_as_one(gpu, driver):
    source, target = gpu.memory.uploaded(np.ones((1, 2, 4), np.float32)), gpu.memory.zeros((1, 2, 4), "float32")
    again = gpu.capture(lambda: gpu.memory.copy_rows(source, 0, 1, target, 1))
    assert not target.numpy().any()  # recording is not doing
    again()
    assert target.numpy()[0].tolist() == [[0] * 4, [1] * 4] and driver.launches == 1


def test_buffers_of_another_device_are_refused(gpu):
    other = Device(fake_cuda.Driver(), 0)
    mine, theirs = gpu.memory.zeros((1, 2, 4), "float32"), other.memory.zeros((1, 2, 4), "float32")
    with pytest.raises(EngineError, match="not memory of cuda:0"):
        gpu.memory.copy_rows(theirs, 0, 1, mine, 0)
    with pytest.raises(EngineError, match="a ndarray is not memory"):
        gpu.memory.copy_rows(np.zeros((1, 2, 4), np.float32), 0, 1, mine, 0)


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "cuda:1.5", ""])
def test_devices_have_names(name):
    with pytest.raises(EngineError, match="expected cuda or cuda:N"):
        device(name)


def test_a_gpu_that_is_not_there(driver):
    with pytest.raises(EngineError, match=r"got cuda:3, this machine has 1 GPU"):
        Device(driver, 3)


def test_no_driver_is_an_error_of_ours(monkeypatch):
    class NoDriver(fake_cuda.Driver):
        def cuInit(self, _flags):
            raise RuntimeError("the driver library cannot be found.")

    monkeypatch.setattr(cuda, "_driver", NoDriver)
    monkeypatch.setattr(cuda, "_made", cuda._made.__wrapped__)
    with pytest.raises(EngineError, match=r"no NVIDIA driver here; .*a2d doctor"):
        device()


def test_an_old_driver_is_an_error_of_ours():
    class Old(fake_cuda.Driver):
        def cuInit(self, _flags):
            return (fake_cuda.Status.CUDA_ERROR_INSUFFICIENT_DRIVER,)

    with pytest.raises(EngineError, match="CUDA_ERROR_INSUFFICIENT_DRIVER.*too old"):
        Device(Old(), 0)


def test_what_else_the_driver_says_is_passed_on(gpu, driver):
    driver.cuStreamSynchronize = lambda _: (fake_cuda.Status.CUDA_ERROR_ILLEGAL_ADDRESS,)
    with pytest.raises(EngineError, match="cuStreamSynchronize: the CUDA driver says CUDA_ERROR_ILLEGAL_ADDRESS"):
        gpu.synchronize()
