"""Loads a checkpoint folder into a model and opens a session on it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
import transformers

from joulebench.api import BackendSession, Settings
from joulebench.checkpoint import read_config
from joulebench.errors import ModelError
from joulebench_plugins.torch.classes import is_encoder
from joulebench_plugins.torch.contextual import open_sparse_mlps
from joulebench_plugins.torch.encoding import EncoderSession
from joulebench_plugins.torch.kvcaches.opening import open_caches
from joulebench_plugins.torch.kvcaches.options import AUTO
from joulebench_plugins.torch.session import TorchSession
from joulebench_plugins.torch.weightpacking import quantize_weights


def open_session(folder: Path, device: str, settings: Settings) -> BackendSession:
    """A session on the checkpoint in ``folder``; raises :class:`ModelError` if it is unfit."""
    torch.set_num_threads(int(settings["threads"]))
    if torch.get_num_interop_threads() != 1:
        # Fixed once parallel work has begun (not in a fresh worker); facts() tells the number.
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(1)
    if is_encoder(read_config(folder)):
        # The pooler is a head for classification; no state that is used here goes through it.
        encoder = _load_model(transformers.AutoModel, folder, settings, unused="pooler.")
        return EncoderSession(encoder.to(device).eval())
    model = _load_model(transformers.AutoModelForCausalLM, folder, settings)
    model.to(device).eval()
    quantize_weights(model, device, settings)
    session = TorchSession(
        model,
        cache=str(settings["cache"]),
        cache_tokens=int(settings["cache_tokens"]),
        optimizer=str(settings["optimizer"]),
        learning_rate=float(settings["learning_rate"]),
        mlps=open_sparse_mlps(model, folder, settings),
        caches=open_caches(model, settings),
    )
    if settings["compile"]:
        session.compile()
    return session


def _load_model(kind: Any, folder: Path, settings: Settings, unused: str | None = None) -> Any:
    """The model by one of transformers' auto classes; weights whose names begin with ``unused`` may be missing."""
    attention = str(settings["attention"])
    try:
        model, report = kind.from_pretrained(
            str(folder),
            dtype=getattr(torch, str(settings["dtype"])),
            attn_implementation=None if attention == AUTO else attention,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"transformers cannot load it: {error}",
            where=str(folder),
            hint="a folder with config.json and safetensors is needed; pickles are refused",
        ) from error
    missing = sorted(name for name in report["missing_keys"] if unused is None or not name.startswith(unused))
    if missing:
        # transformers would go on with random numbers in their place
        raise ModelError(f"{len(missing)} weights are missing, such as {missing[0]}", where=str(folder))
    return model
