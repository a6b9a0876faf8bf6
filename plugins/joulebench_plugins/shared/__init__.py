"""What techniques and converters share that rewrite checkpoints; no plugin of its own.

Sizes and matrices of llama-type models, tensors read and written, calibration run through the
layers, and the integers that a quantized checkpoint keeps beside its dense weights.
"""
