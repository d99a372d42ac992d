"""Which engine runs a bundle where: placement, engine sets, builds, memory on a target."""
