"""How fast memory is read: on the host by reading, elsewhere by copies that are waited for."""

from __future__ import annotations

from a2d.engines.host import HostMemory
from a2d.runtime.measure.bench import bandwidth_of


class Elsewhere:
    """Memory that is not known to be the host's, and what was asked of it."""

    def __init__(self) -> None:
        self.host, self.copied = HostMemory(), 0

    def zeros(self, shape, dtype):
        return self.host.zeros(shape, dtype)

    def copy_rows(self, source, start, count, target, at):
        self.copied += count * source.shape[-1] * 4
        self.host.copy_rows(source, start, count, target, at)


def test_a_device_is_measured_by_its_own_copies():
    memory = Elsewhere()
    assert bandwidth_of(memory, size=1 << 20, repeats=2, copies=3) > 1e6
    assert memory.copied >= 3 * 3 * (1 << 20)


def test_the_host_is_measured_by_reading():
    assert bandwidth_of(HostMemory(), size=1 << 20, repeats=1) > 1e6
