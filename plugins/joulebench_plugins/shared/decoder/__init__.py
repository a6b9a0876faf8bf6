"""Decoders of any architecture: which tensors are linear layers, what made them, and the roles of those known."""
