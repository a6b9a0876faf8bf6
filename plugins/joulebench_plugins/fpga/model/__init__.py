"""The functional model: a llama in the engine's integer arithmetic, token for token.

Products are of integers; softmax, norms, rotary positions, SiLU and scales are float32 beside them.
"""
