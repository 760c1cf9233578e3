"""Flax Linen modules: the operations, the supernet, and how they start."""
