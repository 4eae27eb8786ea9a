"""What a network's answer depends on: guided backpropagation and the paper's maps of it (section 4, Fig. 4).

In: a network with its head, and clips. Out: the guided gradient of an output to every input value, and one map a frame.

Guided backpropagation (Springenberg et al., "Striving for Simplicity", 2015) is backpropagation in which a ReLU passes
a gradient only where its input and the gradient are positive. The network is not changed: calls of ReLU are replaced
while it runs, from any module or function.
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
"""Functions that work differently in training."""


def guided_gradient(model: Callable[[Tensor], Tensor], clips: Tensor, target: int | Tensor | None = None) -> Tensor:
    """Guided gradient of one output a clip to that clip.

    The network keeps its weights, flags, hooks, statistics and gradients; frozen layers pass gradients. The logits are
    differentiated, not the probabilities.

    Args:
        model: clips to logits (N, K), each clip by itself. A module runs in evaluation mode; the modules behind another
            callable must be in it. The network must use what its ReLUs return: in-place ones run out of place.
        clips: float (N, 3, T, H, W), on the network's device; not changed.
        target: the class to explain, one for all clips or int64 (N,); None is each clip's winning one.

    Returns:
        float (N, 3, T, H, W), in the clips' dtype and device.

    Raises:
        ValueError: if the clips or logits have another shape, a target is not a class, something runs in training mode,
            or autograd finds no way from the logits back to the clips.
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
    """The paper's modification of the guided gradient, as one map a frame.

    Each frame's median is subtracted (section 4, Visualization); it is that of all the frame's values, three colours
    by rows by columns, and the mean of the two middle ones where their number is even. Then the absolute value, then
    the largest of the three colours (our choice). Last, each clip is divided by a high percentile of its own maps, one
    number for all its frames, so that frames can be compared; clips and networks cannot.

    Args:
        gradient: float (N, 3, T, H, W), of :func:`guided_gradient`.
        percentile: in (0, 100]; larger values saturate. Nearest rank: the ceil(percentile / 100 * n)-th smallest of a
            clip's n map values, or the largest where that one is 0.

    Returns:
        float32 (N, T, H, W) in [0, 1]; 0 where the gradient is its frame's median.

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
    """max(x, 0), whose gradient passes only where both x and the gradient from above are positive."""

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
    """Inside this context, in this thread, every ReLU is guided, and functions in training mode are refused."""

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
    """Put a module and its children into evaluation mode and restore them; other callables stay."""
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
    """Int64 (N,): the column of each row of logits to explain."""
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
