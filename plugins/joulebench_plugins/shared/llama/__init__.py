"""Models of llama type: their configuration, sizes, rotary positions and the names of their matrices."""
