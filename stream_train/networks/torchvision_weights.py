"""Weights in torchvision's own names: its `r3d_18` and `r2plus1d_18` to and from our backbones.

A state dict is torchvision's, with or without its classifier (`fc.weight`, `fc.bias`).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from shardify.errors import UsageError, WorkError
from stream_train.networks.base import Backbone
from stream_train.networks.resnet import ResNet18, TorchvisionName

CLASSIFIER_KEYS = ("fc.weight", "fc.bias")


def load_torchvision(backbone: Backbone, state: Mapping[str, Tensor]) -> None:
    """Copy torchvision's weights into a backbone; the classifier is left out, everything else must fit.

    Args:
        backbone: an `r3d18` or `r2plus1d18` of variant `torchvision` and width 1; unchanged if an error is raised.
        state: the state dict of `torchvision.models.video.r3d_18` or `r2plus1d_18`.

    Raises:
        UsageError: if the backbone is not shaped like a network of torchvision.
        WorkError: if a weight is missing, left over or of another shape; the first one is named.
    """
    name = _torchvision_name(backbone)
    wanted = backbone.state_dict()
    given = {key: value for key, value in state.items() if key not in CLASSIFIER_KEYS}
    advice = f"give the state dict of torchvision.models.video.{name}"
    for key, value in wanted.items():
        if key not in given:
            raise WorkError(f"the weights have no {key}, which {name} needs; {advice}")
        if not isinstance(given[key], Tensor):
            raise WorkError(f"{key} is a {type(given[key]).__name__}, not a tensor; {advice}")
        if given[key].shape != value.shape:
            shapes = f"{tuple(given[key].shape)}, but {name} needs {tuple(value.shape)}"
            raise WorkError(f"{key} has shape {shapes}; {advice}")
    for key in given:
        if key not in wanted:
            raise WorkError(f"the weights hold {key}, which {name} does not have; {advice}")
    backbone.load_state_dict(given)


def to_torchvision(backbone: Backbone, head: nn.Linear | None = None) -> dict[str, Tensor]:
    """The state dict that torchvision's own network loads, on the CPU and independent of the backbone.

    Args:
        backbone: an `r3d18` or `r2plus1d18` of variant `torchvision` and width 1.
        head: becomes `fc`; with it torchvision loads the result strictly (given `num_classes=head.out_features`).

    Raises:
        UsageError: if the backbone is not shaped like a network of torchvision, or the head reads other features.
    """
    name = _torchvision_name(backbone)
    state = {key: value.detach().cpu().clone() for key, value in backbone.state_dict().items()}
    if head is not None:
        if head.in_features != backbone.feature_dim:
            raise UsageError(
                f"the head reads {head.in_features} features, but the fc of {name} reads {backbone.feature_dim}; "
                "give the head that was trained on this backbone"
            )
        state |= {f"fc.{key}": value.detach().cpu().clone() for key, value in head.state_dict().items()}
    return state


def _torchvision_name(backbone: Backbone) -> TorchvisionName:
    name = backbone.torchvision_name if isinstance(backbone, ResNet18) else None
    if name is None:
        given = "ResNet18 of another variant or width" if isinstance(backbone, ResNet18) else type(backbone).__name__
        raise UsageError(
            f"a {given} cannot exchange weights with torchvision; "
            "only r3d18 and r2plus1d18 with variant torchvision and width 1 can"
        )
    return name
