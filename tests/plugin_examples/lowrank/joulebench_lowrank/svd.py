"""The arithmetic."""

import numpy as np
from safetensors.numpy import load_file, save_file


def _layers(tensors):
    return {name: tensor for name, tensor in tensors.items() if "_proj." in name}


def mapped(file, output, change):
    """A file of weights with ``change`` applied to the matrices of its layers."""
    tensors = load_file(file)
    changed = {name: change(matrix) for name, matrix in _layers(tensors).items()}
    save_file(tensors | changed, output, metadata={"format": "pt"})


def truncated(matrix, rank):
    """The nearest matrix of that rank."""
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    return np.ascontiguousarray((u[:, :rank] * s[:rank]) @ v[:rank]).astype(matrix.dtype)


def largest_rank(folder):
    """The largest numerical rank of the layers' matrices."""
    tensors = {k: v for file in folder.glob("*.safetensors") for k, v in load_file(file).items()}
    return max(int(np.linalg.matrix_rank(layer, rtol=1e-5)) for layer in _layers(tensors).values())
