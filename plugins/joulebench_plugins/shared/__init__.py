"""What plugins share that read or rewrite checkpoints; no plugin of its own."""
