"""Placing a bundle on a machine: placement, engine sets, builds, memory on a target."""
