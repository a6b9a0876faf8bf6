"""KV caches that keep fewer positions, or positions in fewer bits, than the model's own."""
