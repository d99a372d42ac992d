"""What `a2d doctor` asks the machine: processor, GPUs, drivers, packages. Reads, never changes."""
