"""Which pixels a network's answer depends on: guided backpropagation and the paper's maps of it (section 4, Fig. 4).

In: a network with its head, and clips. Out: the guided gradient of an output to every input value; one map per frame.

In guided backpropagation (Springenberg et al., "Striving for Simplicity", 2015) a ReLU passes a gradient only where
its input and the gradient are positive. The network is not changed: every call of ReLU is replaced while it runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from stream_train.networks.base import NUM_COLOURS

DISPLAY_PERCENTILE = 99.5
"""Percentile of a clip's map values that is drawn in the strongest colour."""

_RELUS = frozenset({F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_})
_TRAINABLE = frozenset({F.batch_norm, F.dropout, F.dropout3d})
"""Functions that behave differently in training mode."""


def guided_gradient(model: Callable[[Tensor], Tensor], clips: Tensor, target: int | Tensor | None = None) -> Tensor:
    """The guided gradient of one logit (not probability) of each clip to that clip.

    Weights, flags, hooks, statistics and gradients of the network do not change; frozen layers pass gradients.

    Args:
        model: clips -> logits (N, K), each clip independently. A module is put into evaluation mode during the call;
            modules behind another callable must already be in it. Code that relies on an in-place ReLU to change its
            input does not work: every ReLU returns a new tensor.
        clips: float (N, 3, T, H, W), on the network's device; not changed.
        target: the class to explain, one for all clips or int64 (N,); None is each clip's winning class.

    Returns:
        float (N, 3, T, H, W), in the clips' dtype and device.

    Raises:
        ValueError: if a shape is wrong, a target is no class, something runs in training mode, or there is no gradient.
    """
    if clips.ndim != 5 or clips.shape[1] != NUM_COLOURS or not clips.is_floating_point():
        raise ValueError(f"clips are {clips.dtype} {tuple(clips.shape)}, not float (N, {NUM_COLOURS}, T, H, W)")
    with torch.inference_mode(mode=False), torch.enable_grad(), _evaluating(model), _GuidedReLUs():
        inputs = clips.detach().clone().requires_grad_()
        logits: object = model(inputs)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(clips):
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"the model gave {got} for {len(clips)} clips; one row of logits a clip is needed")
        chosen = logits.gather(1, _targets(logits, target)[:, None])
        gradient = None
        if chosen.requires_grad:
            (gradient,) = torch.autograd.grad(chosen.sum(), inputs, allow_unused=True)
    if gradient is None:
        raise ValueError("the logits have no gradient to the clips: part of the model runs under torch.no_grad()")
    return gradient


def saliency_maps(gradient: Tensor, percentile: float = DISPLAY_PERCENTILE) -> Tensor:
    """One map per frame, from the guided gradient (section 4, Visualization).

    1. Subtract each frame's median, over its 3 * H * W values; for an even number, the mean of the middle two.
    2. Take the absolute value, then the largest of the three colours (our choice).
    3. Divide each clip by a high percentile of its own maps. All frames of a clip share this number, so frames can be
       compared, but clips and networks cannot.

    Args:
        gradient: float (N, 3, T, H, W), of :func:`guided_gradient`.
        percentile: in (0, 100]; larger map values become 1. Nearest rank: the ceil(percentile / 100 * n)-th smallest
            of a clip's n map values, or the largest if that value is 0.

    Returns:
        float32 (N, T, H, W) in [0, 1]; 0 where the gradient equals the median of its frame.

    Raises:
        ValueError: if the gradient has another shape, or values that are not finite.
    """
    if gradient.ndim != 5 or gradient.shape[1] != NUM_COLOURS:
        raise ValueError(f"the gradient has shape {tuple(gradient.shape)}, not (N, {NUM_COLOURS}, T, H, W)")
    if not bool(gradient.isfinite().all()):
        raise ValueError("the gradient holds values that are not finite; the network's weights or clips are damaged")
    frames = gradient.float().transpose(1, 2)  # (N, T, 3, H, W)
    ordered = frames.flatten(start_dim=2).sort(dim=2).values
    num_values = ordered.shape[2]
    medians = (ordered[:, :, (num_values - 1) // 2] + ordered[:, :, num_values // 2]) / 2
    maps = (frames - medians[:, :, None, None, None]).abs().amax(dim=2)
    values = maps.flatten(start_dim=1)
    rank = max(1, math.ceil(percentile / 100 * values.shape[1]))
    scale = values.kthvalue(rank, dim=1).values
    scale = torch.where(scale > 0, scale, values.amax(dim=1)).clamp(min=torch.finfo(torch.float32).tiny)
    return (maps / scale[:, None, None, None]).clamp(max=1)


class _GuidedReLU(torch.autograd.Function):
    """max(x, 0); the gradient passes only where x and the incoming gradient are both positive."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values > 0)
        return values.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (is_positive,) = ctx.saved_tensors
        passed: Tensor = gradient.clamp(min=0) * is_positive
        return passed


class _GuidedReLUs(TorchFunctionMode):
    """In this context and thread, every ReLU is guided; functions in training mode raise ValueError."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _RELUS:
            return _GuidedReLU.apply(args[0] if args else (kwargs or {})["input"])
        if func in _TRAINABLE and (kwargs or {}).get("training"):
            raise ValueError(f"the model calls {func.__name__} in training mode; call eval() on its modules first")
        return func(*args, **(kwargs or {}))


@contextmanager
def _evaluating(model: object) -> Iterator[None]:
    """Put a module and its children into evaluation mode, then restore them; other callables are not touched."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    were_training = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, was_training in zip(modules, were_training, strict=True):
            module.training = was_training


def _targets(logits: Tensor, target: int | Tensor | None) -> Tensor:
    """int64 (N,): the class to explain for each clip."""
    num_clips, num_classes = logits.shape
    if target is None:
        return logits.detach().argmax(dim=1)
    targets = torch.as_tensor(target, device=logits.device)
    if targets.ndim == 0:
        targets = targets.expand(num_clips)
    in_range = bool(((targets >= 0) & (targets < num_classes)).all())
    if targets.dtype != torch.int64 or targets.shape != (num_clips,) or not in_range:
        raise ValueError(f"target is {target}, not a class in [0, {num_classes}) or int64 ({num_clips},) of them")
    return targets
