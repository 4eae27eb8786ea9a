"""R(2+1)D-18: each 3D convolution is split into a spatial and a temporal one, as in torchvision or the authors' code.

In: clips (N, 3, T, H, W). Out: features (N, 512). C x T x H x W of a 16 x 112 x 112 clip, at width 1, in both variants:

    stem      64 x 16 x 56 x 56
    layer1    64 x 16 x 56 x 56
    layer2   128 x  8 x 28 x 28
    layer3   256 x  4 x 14 x 14
    layer4   512 x  2 x  7 x  7
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.video.resnet import Conv2Plus1D

from stream_train.networks.base import NUM_COLOURS, halve, scale_channels
from stream_train.networks.config import R2Plus1D18Config
from stream_train.networks.resnet import STAGE_CHANNELS, ResNet18

TORCHVISION_STEM_CHANNELS = 45


class IdentityConv2Plus1D(nn.Module):
    """The authors' split convolution: spatial, ReLU, temporal; the same number of channels throughout.

    Their temporal convolution has a bias. It is left out here, because a BatchNorm always follows and cancels it.
    """

    def __init__(
        self,
        in_planes: int,
        out_planes: int,
        midplanes: int | None = None,  # noqa: ARG002 (part of torchvision's interface of a block's convolution)
        stride: int | tuple[int, int, int] = 1,
        spatial_kernel: int = 3,
    ) -> None:
        """Kernel 3 in time and `spatial_kernel` in space, padded to keep the size at stride 1; ignores `midplanes`."""
        super().__init__()
        strides = (stride, stride, stride) if isinstance(stride, int) else stride
        pad = spatial_kernel // 2
        self.spatial = nn.Conv3d(
            in_planes,
            out_planes,
            kernel_size=(1, spatial_kernel, spatial_kernel),
            stride=(1, strides[1], strides[2]),
            padding=(0, pad, pad),
            bias=False,
        )
        self.relu = nn.ReLU(inplace=True)
        self.temporal = nn.Conv3d(
            out_planes, out_planes, kernel_size=(3, 1, 1), stride=(strides[0], 1, 1), padding=(1, 0, 0), bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_planes, T, H, W) -> (N, out_planes, ceil(T / stride), ceil(H / stride), ceil(W / stride))."""
        out: Tensor = self.temporal(self.relu(self.spatial(x)))
        return out

    def start_as_identity(self) -> None:
        """Make the temporal convolution the identity: its centre tap copies each channel."""
        nn.init.dirac_(self.temporal.weight)

    @staticmethod
    def get_downsample_stride(stride: int) -> tuple[int, int, int]:
        """(T, H, W) stride of the shortcut."""
        return stride, stride, stride


def build_r2plus1d18(config: R2Plus1D18Config, *, crop: int, num_frames: int) -> ResNet18:
    """R(2+1)D-18, newly initialised."""
    channels = scale_channels(STAGE_CHANNELS[0], config.width)
    official = config.variant == "official"
    if official:
        stem = nn.Sequential(
            IdentityConv2Plus1D(NUM_COLOURS, channels, stride=(1, 2, 2), spatial_kernel=7),
            nn.BatchNorm3d(channels),
            nn.ReLU(inplace=True),
        )
    else:
        stem = _torchvision_stem(channels, scale_channels(TORCHVISION_STEM_CHANNELS, config.width))
    net = ResNet18(
        stem,
        [IdentityConv2Plus1D if official else Conv2Plus1D] * 4,
        stem_size=halve(crop),
        official=official,
        width=config.width,
        crop=crop,
        num_frames=num_frames,
        normalise_features=official,
    )
    for layer in net.modules():
        if isinstance(layer, IdentityConv2Plus1D):
            layer.start_as_identity()
    return net


def _torchvision_stem(channels: int, middle_channels: int) -> nn.Sequential:
    """Spatial 7x7 and temporal 3, each with BatchNorm and ReLU; the weights' names are indices, as in torchvision."""
    return nn.Sequential(
        nn.Conv3d(NUM_COLOURS, middle_channels, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False),
        nn.BatchNorm3d(middle_channels),
        nn.ReLU(inplace=True),
        nn.Conv3d(middle_channels, channels, (3, 1, 1), padding=(1, 0, 0), bias=False),
        nn.BatchNorm3d(channels),
        nn.ReLU(inplace=True),
    )
