"""Channels, clocks, the sampler, windows, and the arithmetic of energy and its uncertainty."""
