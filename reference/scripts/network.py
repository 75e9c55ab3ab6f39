"""Classifier-inRAC of Lin, Guo et al. 2022 in PyTorch, with torchvision's names and the names and shapes of Osteon's model files.

A residual network of basic blocks with hybrid (CBAM, Woo et al. 2018) attention: `inside` the residual branch (inRAC), `outside`
behind the sum (outRAC), or `none`.
"""

import torch
import torch.nn.functional as F
from torch import nn


class ChannelAttention(nn.Module):
    """sigmoid(MLP(average over pixels) + MLP(maximum over pixels)), one factor a channel."""

    def __init__(self, channels, reduction=16):
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // reduction)
        self.fc2 = nn.Linear(channels // reduction, channels)

    def mlp(self, x):
        return self.fc2(F.relu(self.fc1(x)))

    def forward(self, x):
        average = F.adaptive_avg_pool2d(x, 1).flatten(1)
        maximum = F.adaptive_max_pool2d(x, 1).flatten(1)
        return x * torch.sigmoid(self.mlp(average) + self.mlp(maximum))[:, :, None, None]


class SpatialAttention(nn.Module):
    """sigmoid(convolution of [mean; maximum] over channels), one factor a pixel."""

    def __init__(self, kernel=7):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x):
        stats = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], 1)
        return x * torch.sigmoid(self.conv(stats))


class HybridAttention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.channel = ChannelAttention(channels)
        self.spatial = SpatialAttention()

    def forward(self, x):
        return self.spatial(self.channel(x))


class Block(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1, attention="inside"):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        if attention != "none":
            self.attention = HybridAttention(out_channels)
        self.inside, self.outside = attention == "inside", attention == "outside"
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.inside:
            branch = self.attention(branch)
        y = F.relu(shortcut + branch)
        return self.attention(y) if self.outside else y


class Stem(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)

    def forward(self, x):
        return F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)


class Classifier(Stem):
    """Input (N, 1, rows, columns), at least 32x32; output logits (N, classes)."""

    def __init__(self, classes=3, blocks=(2, 3, 5, 2), attention="inside"):
        super().__init__()
        channels = 64
        for stage, count in enumerate(blocks):
            width = 64 << stage
            layer = [Block(channels, width, 1 if stage == 0 else 2, attention)]
            layer += [Block(width, width, 1, attention) for _ in range(count - 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
            channels = width
        self.fc = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = super().forward(x)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(x.mean((2, 3)))


def state_to_save(network):
    """Its parameters and running statistics, as a model file of Osteon has them."""
    state = network.state_dict()
    return {name: value.contiguous() for name, value in state.items() if not name.endswith("num_batches_tracked")}


def load(network, tensors):
    """Loads them by name, strictly: no name may be missing or left over but PyTorch's own counters of batches."""
    counters = {n: v for n, v in network.state_dict().items() if n.endswith("num_batches_tracked")}
    network.load_state_dict({**tensors, **counters}, strict=True)
    return network
