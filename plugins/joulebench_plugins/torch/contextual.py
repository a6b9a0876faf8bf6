"""MLPs of which each token uses only some channels: those that its gate opens wide enough.

After Lee et al. 2024, "CATS: Contextually-Aware Thresholding for Sparsity in Large Language
Models" (arXiv 2404.08763): a channel is active where |act(gate · x)| reaches its layer's
threshold, a quantile of that over a calibration text. What is not active counts as zero.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from joulebench.api import Scalar, Settings
from joulebench.errors import ModelError

#: Parts that a gated MLP is made of, by transformers' names.
_PARTS: Final = {"gate_proj", "up_proj", "down_proj", "act_fn"}
#: Tokens of the calibration text that are read, at most.
_CALIBRATION_TOKENS: Final = 2048
_STRETCH: Final = 256
#: Forward passes whose masks are kept for the account.
_REMEMBERED: Final = 64
#: Runs of a trial of one way to compute.
_TRIAL_RUNS: Final = 30
#: Active channels of a pass, as a mask or their number, and all channels of its tokens.
Passed = tuple[torch.Tensor | int, int]


class SparseMlp(torch.nn.Module):  # type: ignore[misc]
    """An MLP with a threshold on its gate; its matrices stay the dense model's.

    ``gathers``: one token's active rows of ``up`` and of the transposed ``down`` are picked, and
    only they are multiplied. Otherwise all is computed and masked.
    """

    def __init__(self, dense: Any, threshold: float) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = (dense.gate_proj, dense.up_proj, dense.down_proj)
        self.act_fn = dense.act_fn
        self.threshold = threshold
        self.gathers = False
        #: Of the last single tokens: active channels, as a mask or their number, and all channels.
        self.steps: deque[Passed] = deque(maxlen=_REMEMBERED)
        #: The same of the last text that was read.
        self.read: Passed | None = None

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """As the dense MLP's, without the channels that are not active."""
        opened = self.act_fn(self.gate_proj(states))
        active = opened.abs() >= self.threshold
        one = states.shape[:-1].numel() == 1
        if one and self.gathers:
            return self._gathered(states, opened, active)
        if one:
            self.steps.append((active, active.numel()))
        else:  # the mask of a long text would take much memory
            self.read = active.sum(), active.numel()
        result: torch.Tensor = self.down_proj(opened * active * self.up_proj(states))
        return result

    def _gathered(self, states: torch.Tensor, opened: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
        where = active.view(-1).nonzero()[:, 0]
        self.steps.append((where.numel(), active.numel()))
        up = torch.mv(self.up_proj.weight.index_select(0, where), states.view(-1))
        if self.up_proj.bias is not None:
            up += self.up_proj.bias.index_select(0, where)
        # Rows of the transposed matrix, weighed and summed: they lie together in memory.
        result = torch.nn.functional.embedding_bag(
            where[None],
            self.down_proj.weight.t(),
            mode="sum",
            per_sample_weights=(opened.view(-1).index_select(0, where) * up)[None],
        )
        if self.down_proj.bias is not None:
            result = result + self.down_proj.bias
        return result.view(states.shape)

    def lay_out_for_gathering(self) -> None:
        """Turn ``down`` in memory, so that a channel's numbers lie in one row; no copy is kept."""
        weight = self.down_proj.weight
        weight.data = weight.data.t().contiguous().t()

    def lay_out_for_masking(self) -> None:
        """Turn ``down`` back."""
        weight = self.down_proj.weight
        weight.data = weight.data.contiguous()

    @property
    def has_rows(self) -> bool:
        """Whether the matrices are plain ones, of which rows can be picked."""
        plain = (torch.Tensor, torch.nn.Parameter)
        weights: list[Any] = [getattr(part, "weight", None) for part in (self.up_proj, self.down_proj)]
        return all(type(weight) in plain and weight.is_floating_point() for weight in weights)

    def active_share(self) -> float | None:
        """Of the last single tokens; of the last text where none was written."""
        passed = list(self.steps) or ([self.read] if self.read is not None else [])
        if not passed:
            return None
        active = sum(float(count.sum().item()) if isinstance(count, torch.Tensor) else count for count, _ in passed)
        return active / sum(total for _, total in passed)


class SparseMlps:
    """All MLPs of a model, made sparse."""

    def __init__(self, mlps: Sequence[SparseMlp], active_share: float, kernel: str) -> None:
        self._mlps, self._wanted = mlps, active_share
        #: Time of gathering over time of masking, where both were tried.
        self._trial: float | None = None
        if kernel == "gather" and not mlps[0].has_rows:
            raise ModelError(
                "its matrices are no plain ones, of which rows could be picked", hint="set mlp_kernel = 'mask'"
            )
        if kernel == "gather" or (kernel == "auto" and self._gathering_is_faster()):
            for mlp in mlps:
                mlp.lay_out_for_gathering()
                mlp.gathers = True

    @property
    def skips(self) -> bool:
        """Whether what is not active is really not computed while decoding."""
        return self._mlps[0].gathers

    def _gathering_is_faster(self) -> bool:
        first = self._mlps[0]
        if not first.has_rows:
            return False
        weight = first.up_proj.weight
        state = torch.randn((1, 1, weight.shape[1]), device=weight.device).to(weight.dtype)
        state *= self._typical_norm(first, state)
        masked_s = _least_time_s(lambda: first(state), weight.device)
        first.lay_out_for_gathering()
        first.gathers = True
        gathered_s = _least_time_s(lambda: first(state), weight.device)
        first.gathers = False
        first.lay_out_for_masking()
        first.steps.clear()
        self._trial = gathered_s / masked_s
        return self._trial < 1

    def _typical_norm(self, mlp: SparseMlp, state: torch.Tensor) -> float:
        """A factor for a random state that leaves about as many channels active as are wanted."""
        opened = mlp.act_fn(mlp.gate_proj(state)).abs().flatten().float()
        middle = opened.sort().values[int((1 - self._wanted) * (opened.numel() - 1))]
        return mlp.threshold / max(float(middle.item()), 1e-12)

    def facts(self) -> Mapping[str, Scalar]:
        """How the MLPs are computed."""
        return {"mlp": "gather" if self.skips else "mask", "mlp_active": self._wanted}

    def account(self) -> dict[str, Scalar]:
        """Active shares of the last tokens, and whether the others are left out or only masked."""
        shares = [mlp.active_share() for mlp in self._mlps]
        known = [share for share in shares if share is not None]
        return {
            "active_share_wanted": self._wanted,
            "active_share_mean": sum(known) / len(known) if known else None,
            "active_share_min": min(known, default=None),
            "active_share_max": max(known, default=None),
            "layers": len(self._mlps),
            "kernel": "gather" if self.skips else "mask",
            "gather_over_mask_time": self._trial,
            "note": None if self.skips else "everything is computed and masked: no time is saved",
        }


def open_sparse_mlps(model: Any, folder: Path, settings: Settings) -> SparseMlps | None:
    """Replace the model's MLPs where the settings want it; ``None`` where not.

    Raises :class:`ModelError` for a model without gated MLPs or without a tokenizer.
    """
    active_share = settings.get("mlp_active")
    if active_share is None:
        return None
    layers = model.base_model.layers
    if any(_PARTS - set(dict(layer.mlp.named_children())) for layer in layers):
        raise ModelError("its MLPs have no gate, by which channels could be chosen", where=str(folder))
    tokens = _tokens(folder, Path(str(settings["mlp_text"])))
    thresholds = _thresholds(model, tokens, float(active_share))
    for layer, threshold in zip(layers, thresholds, strict=True):
        layer.mlp = SparseMlp(layer.mlp, threshold)
    with torch.no_grad():  # not inference_mode: its tensors could not be trained
        return SparseMlps([layer.mlp for layer in layers], float(active_share), str(settings["mlp_kernel"]))


def _thresholds(model: Any, tokens: list[int], active_share: float) -> list[float]:
    """For each layer the value that ``wanted`` of its |act(gate)| reach, over the text."""
    seen: dict[int, list[torch.Tensor]] = {}

    def remember(index: int, act: Any) -> Callable[[Any, Any, torch.Tensor], None]:
        return lambda _, __, gate: seen.setdefault(index, []).append(act(gate).abs().flatten().float().cpu())

    layers = model.base_model.layers
    thresholds: list[list[float]] = [[] for _ in layers]
    hooks = [
        layer.mlp.gate_proj.register_forward_hook(remember(index, layer.mlp.act_fn))
        for index, layer in enumerate(layers)
    ]
    try:
        with torch.inference_mode():
            for start in range(0, len(tokens), _STRETCH):
                ids = torch.tensor([tokens[start : start + _STRETCH]], device=model.device)
                model.base_model(input_ids=ids, use_cache=False)
                for index, values in seen.items():
                    whole = torch.cat(values)
                    place = max(1, round((1 - active_share) * whole.numel()))
                    thresholds[index].append(float(whole.kthvalue(place).values.item()))
                seen.clear()  # a stretch at a time: all of them would take much memory
    finally:
        for hook in hooks:
            hook.remove()
    return [sum(of_layer) / len(of_layer) for of_layer in thresholds]


def _tokens(folder: Path, text: Path) -> list[int]:
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ModelError("has no tokenizer.json, without which no text can be read for thresholds", where=str(folder))
    try:
        content = text.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read for thresholds: {error}", where=str(text)) from None
    ids: list[int] = Tokenizer.from_file(str(file)).encode(content, add_special_tokens=False).ids
    whole = min(len(ids), _CALIBRATION_TOKENS) // _STRETCH * _STRETCH
    if not whole:
        raise ModelError(f"is too short for thresholds: {len(ids)} tokens; {_STRETCH} are needed", where=str(text))
    return ids[:whole]


def _least_time_s(run: Callable[[], object], device: torch.device) -> float:
    """Of several runs; on an accelerator until it has finished."""
    best = float("inf")
    for _ in range(_TRIAL_RUNS):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best
