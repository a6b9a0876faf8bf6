"""The isolated processes: one runs a model, another a converter or technique."""
