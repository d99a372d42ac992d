"""Questions of `a2d doctor` to the machine: processor, GPUs, drivers, packages. Reads, never changes."""
