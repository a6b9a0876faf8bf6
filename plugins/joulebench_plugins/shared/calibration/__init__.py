"""Techniques that look at activations: which text is read, the layers it runs through, the Hessian."""
