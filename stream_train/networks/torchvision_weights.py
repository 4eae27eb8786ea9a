"""Exchange of weights between our backbones and torchvision's `r3d_18` and `r2plus1d_18`.

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
    """Copy the weights of torchvision's network, without its classifier, into a backbone.

    The backbone is an `r3d18` or `r2plus1d18` of variant `torchvision` and width 1. An error leaves it unchanged.

    Raises:
        UsageError: if the backbone does not have the shape of a torchvision network.
        WorkError: if a weight is missing, left over or of another shape; names the first one.
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
    """A state dict for torchvision's network, on the CPU and independent of the backbone.

    The backbone is as for :func:`load_torchvision`. The head becomes `fc`; with it torchvision loads the result
    strictly (given `num_classes=head.out_features`).

    Raises:
        UsageError: if the backbone does not have the shape of a torchvision network, or the head reads other features.
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
