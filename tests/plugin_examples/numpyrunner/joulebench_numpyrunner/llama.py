"""The session: joulebench makes tokens and scores of the logits."""

import json

import numpy as np
from safetensors.numpy import load_file

from joulebench.backendkit import LogitsSession


class NumpySession(LogitsSession):
    """Grouped-query attention, rotary positions, SiLU, root-mean-square norms; no KV cache."""

    def __init__(self, folder):
        """Read configuration and weights."""
        self.c = c = json.loads((folder / "config.json").read_text())
        self.w = load_file(folder / "model.safetensors")
        self.vocabulary_size, self.context_length = c["vocab_size"], c["max_position_embeddings"]

    def norm(self, x, name):
        """Root-mean-square norm."""
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.c["rms_norm_eps"]) * self.w[name]

    def heads(self, x, name, turn=0.0):
        """A projection cut into heads (head, token, size), turned, repeated for all queries."""
        x = (x @ self.w[name].T).reshape(len(x), -1, self.c["head_dim"]).swapaxes(0, 1)
        first, second = np.split(x, 2, -1)
        x = x * np.cos(turn) + np.concatenate([-second, first], -1) * np.sin(turn)
        return np.repeat(x, self.c["num_attention_heads"] // len(x), 0)

    def logits(self, tokens):
        """Of the whole sequence."""
        n, size, theta = len(tokens), self.c["head_dim"], self.c["rope_parameters"]["rope_theta"]
        turn = np.tile(np.arange(n)[:, None] * theta ** (-np.arange(0, size, 2) / size), 2)
        hidden = np.triu(np.full((n, n), -np.inf), 1)
        x = self.w["model.embed_tokens.weight"][list(tokens)]
        for at in (f"model.layers.{index}." for index in range(self.c["num_hidden_layers"])):
            h = self.norm(x, at + "input_layernorm.weight")
            q, k = (self.heads(h, f"{at}self_attn.{part}_proj.weight", turn) for part in "qk")
            p = np.exp(q @ k.swapaxes(1, 2) / size**0.5 + hidden)
            h = p / p.sum(-1, keepdims=True) @ self.heads(h, at + "self_attn.v_proj.weight")
            x = x + h.swapaxes(0, 1).reshape(n, -1) @ self.w[at + "self_attn.o_proj.weight"].T
            h = self.norm(x, at + "post_attention_layernorm.weight")
            g, u = (h @ self.w[f"{at}mlp.{item}_proj.weight"].T for item in ("gate", "up"))
            x = x + (g / (1 + np.exp(-g)) * u) @ self.w[at + "mlp.down_proj.weight"].T
        return (self.norm(x, "model.norm.weight") @ self.w["lm_head.weight"].T).astype(np.float32)
