"""The networks of Lin, Guo et al. 2022 in PyTorch, with torchvision's names and the names and shapes of Osteon's model files.

Classifier-inRAC is a residual network of basic blocks with hybrid (CBAM, Woo et al. 2018) attention: `inside` the residual branch
(inRAC), `outside` behind the sum (outRAC), or `none`; with shortcuts or without. VGG-11 and Inception-v1 are torchvision's, but for what
their docstrings say. All of them are in `ARCHITECTURES`.
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
    def __init__(self, in_channels, out_channels, stride=1, attention="inside", shortcut=True):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        if attention != "none":
            self.attention = HybridAttention(out_channels)
        self.inside, self.outside = attention == "inside", attention == "outside"
        self.downsample, self.shortcut = None, shortcut
        if not shortcut:
            return
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x):
        shortcut = 0 if not self.shortcut else x if self.downsample is None else self.downsample(x)
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

    def __init__(self, classes=3, blocks=(2, 3, 5, 2), attention="inside", shortcuts=True):
        super().__init__()
        channels = 64
        for stage, count in enumerate(blocks):
            width = 64 << stage
            layer = [Block(channels, width, 1 if stage == 0 else 2, attention, shortcuts)]
            layer += [Block(width, width, 1, attention, shortcuts) for _ in range(count - 1)]
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


class Vgg(nn.Module):
    """torchvision's `vgg11`, with one input channel, without its 7x7 average: all pixels (`size`: of the images) or their mean."""

    def __init__(self, classes=3, size=None, drop=0.0):
        super().__init__()
        layers, channels = [], 1
        for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
            if width:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.flatten = size is not None
        pixels = (size[0] // 32) * (size[1] // 32) if size else 1
        self.classifier = nn.Sequential(
            nn.Linear(512 * pixels, 4096), nn.ReLU(), nn.Dropout(drop),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(drop), nn.Linear(4096, classes),
        )

    def forward(self, x):
        x = self.features(x)
        return self.classifier(x.flatten(1) if self.flatten else x.mean((2, 3)))


class Basic(nn.Module):
    def __init__(self, in_channels, out_channels, kernel, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class InceptionBlock(nn.Module):
    def __init__(self, channels, one, three, five, pooled):
        super().__init__()
        self.branch1 = Basic(channels, one, 1)
        self.branch2 = nn.Sequential(Basic(channels, three[0], 1), Basic(*three, 3))
        self.branch3 = nn.Sequential(Basic(channels, five[0], 1), Basic(*five, 5))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), Basic(channels, pooled, 1))

    def forward(self, x):
        return torch.cat([branch(x) for branch in (self.branch1, self.branch2, self.branch3, self.branch4)], 1)


class Auxiliary(nn.Module):
    def __init__(self, channels, classes, drop):
        super().__init__()
        self.conv = Basic(channels, 128, 1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, classes)
        self.drop = drop

    def forward(self, x):
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4)))
        return self.fc2(F.dropout(F.relu(self.fc1(x.flatten(1))), self.drop, self.training))


class Inception(nn.Module):
    """torchvision's `googlenet`, with one input channel, 5x5 kernels in branch 3 as the paper has it, and PyTorch's own epsilon.

    In training it gives the logits and those of both auxiliary classifiers.
    """

    def __init__(self, classes=3, drop=0.0):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = Basic(1, 64, 7, 2), Basic(64, 64, 1), Basic(64, 192, 3)
        self.inception3a = InceptionBlock(192, 64, (96, 128), (16, 32), 32)
        self.inception3b = InceptionBlock(256, 128, (128, 192), (32, 96), 64)
        self.inception4a = InceptionBlock(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = InceptionBlock(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = InceptionBlock(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = InceptionBlock(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = InceptionBlock(528, 256, (160, 320), (32, 128), 128)
        self.inception5a = InceptionBlock(832, 256, (160, 320), (32, 128), 128)
        self.inception5b = InceptionBlock(832, 384, (192, 384), (48, 128), 128)
        self.aux1, self.aux2 = Auxiliary(512, classes, drop), Auxiliary(528, classes, drop)
        self.fc = nn.Linear(1024, classes)
        self.drop = drop

    def forward(self, x):
        def pool(x, kernel):
            return F.max_pool2d(x, kernel, 2, ceil_mode=True)

        x = pool(self.conv3(self.conv2(pool(self.conv1(x), 3))), 3)
        x = self.inception4a(pool(self.inception3b(self.inception3a(x)), 3))
        first = x
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        second = x
        x = self.inception5b(self.inception5a(pool(self.inception4e(x), 2)))
        logits = self.fc(F.dropout(x.mean((2, 3)), self.drop, self.training))
        return (logits, self.aux1(first), self.aux2(second)) if self.training else logits


def loss(outputs, labels):
    """Cross-entropy, with 0.3 of each auxiliary classifier's."""
    if torch.is_tensor(outputs):
        return F.cross_entropy(outputs, labels)
    return F.cross_entropy(outputs[0], labels) + 0.3 * sum(F.cross_entropy(output, labels) for output in outputs[1:])


# Each from a number of classes, and the size of images where pixels are flattened.
ARCHITECTURES = {
    "inrac": lambda classes, size: Classifier(classes),
    "outrac": lambda classes, size: Classifier(classes, attention="outside"),
    "inrac-no-residual": lambda classes, size: Classifier(classes, shortcuts=False),
    "inrac-no-attention": lambda classes, size: Classifier(classes, attention="none"),
    "inrac-no-residual-no-attention": lambda classes, size: Classifier(classes, attention="none", shortcuts=False),
    "classifier-18": lambda classes, size: Classifier(classes, (2, 2, 2, 2)),
    "classifier-34": lambda classes, size: Classifier(classes, (3, 4, 6, 3)),
    "vgg-11": lambda classes, size: Vgg(classes, size),
    "inception-v1": lambda classes, size: Inception(classes),
}


def state_to_save(network):
    """Its parameters and running statistics, as a model file of Osteon has them."""
    state = network.state_dict()
    return {name: value.contiguous() for name, value in state.items() if not name.endswith("num_batches_tracked")}


def load(network, tensors):
    """Loads them by name, strictly: no name may be missing or left over but PyTorch's own counters of batches."""
    counters = {n: v for n, v in network.state_dict().items() if n.endswith("num_batches_tracked")}
    network.load_state_dict({**tensors, **counters}, strict=True)
    return network
