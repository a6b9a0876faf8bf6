"""A checkpoint's tensors: as numpy arrays, as torch tensors, and the integers of a quantized one."""
