"""Checkpoints through the exporters of transformers: what these need and take, and what is traced."""
