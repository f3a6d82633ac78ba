"""The paper's networks in plain PyTorch: what `python benchmarks/run.py train_step` compares with."""

import contextlib
import math

import torch
from torch import nn
from torch.nn import functional as F

from smtn_keras.config import Config
from smtn_keras.errors import UserError
from smtn_keras.tasks import Landmarks, Task

BLOCKS = {1: (2, 64), 2: (2, 128), 3: (3, 256), 4: (3, 512)}  # Table 1: convs and filters
BRANCHES = {"input": 0, "conv1_2": 1, "conv2_2": 2, "conv3_3": 3, "end": 4}  # blocks before them
MEAN, SCALE = (123.68, 116.779, 103.939), 58.0  # of pixels


class Network(nn.Module):
    """Hard sharing, or separation with the shared stack frozen in stage 2.

    Takes images `(batch, size, size, 3)` uint8 RGB; gives landmarks `(batch, points, 2 or 3)` and attributes `(batch, units)` logits.

    Attributes:
        layers: those with weights, named as smtn_keras names them.

    Raises:
        UserError: the configuration asks for what is not rebuilt here.
    """

    def __init__(self, config: Config, tasks: tuple[Task, ...]):
        super().__init__()
        config = config.resolved()
        network = self.network = config.network
        if (
            network.kind not in ("hard_sharing", "separation")
            or (network.kind == "hard_sharing" and network.branch != "end")
            or (network.backbone, network.activation, network.conv) != ("vgg16", "relu", "full")
            or network.head == "both"
            or network.dropout
            or network.apart
        ):
            raise UserError("not rebuilt in PyTorch, which has hard sharing and separation of VGG16's stacks")
        self.tasks, self.frozen = tasks, config.stage == 2
        self.branch = BRANCHES[network.branch]
        self.layers = nn.ModuleDict()
        self._add_stack("shared", network.width)
        if network.kind == "separation":
            for task in tasks:
                self._add_stack(task.name, network.task_width or network.width, self.branch + 1)
        for task in tasks:
            self._add_head(task)
        self.register_buffer("mean", torch.tensor(MEAN), persistent=False)
        with torch.no_grad():  # the lazy layers learn their inputs' channels
            self(torch.zeros(2, network.image_size, network.image_size, 3, dtype=torch.uint8))
        if self.frozen:
            for name, layer in self.layers.items():
                layer.requires_grad_(not name.startswith("shared_"))

    def _add_stack(self, stack: str, width: float, first: int = 1):
        network = self.network
        for block in range(first, 5):
            convs, filters = BLOCKS[block]
            filters = max(1, round(filters * width))
            for i in range(1, convs + 1):
                name = f"{stack}_conv{block}_{i}"
                self.layers[name] = nn.LazyConv2d(filters, 3, padding=1, bias=not network.batch_norm)
                if network.batch_norm:
                    self.layers[f"{name}_bn"] = nn.LazyBatchNorm2d(eps=1e-3, momentum=0.01)
                if stack != "shared" and network.fusion == "channelwise" and self._fuses(block, i):
                    self.layers[f"{stack}_fuse{block}_{i}"] = nn.LazyConv2d(filters, 1)

    def _fuses(self, block: int, conv: int) -> bool:
        return self.network.fuse_at == "conv" or conv == BLOCKS[block][0]

    def _add_head(self, task: Task):
        network, name = self.network, task.name
        if not isinstance(task, Landmarks):
            units = task.binary_count * (2 if network.attribute_output == "softmax" else 1)
            self._add_hidden(name)
            self.layers[name] = nn.LazyLinear(units + sum(len(label.classes) for label in task.categorical))
            return
        if network.head == "softargmax":
            self.layers[f"{name}_mix"] = nn.LazyConv2d(math.ceil(256 * network.width), 1)
            self.layers[f"{name}_heatmaps"] = nn.LazyConv2d(len(task.points), 3, padding=1)
        else:
            self._add_hidden(name)
            self.layers[f"{name}_output"] = nn.LazyLinear(2 * len(task.points))
        if network.uncertainty:
            self.layers[f"{name}_log_scales"] = nn.LazyLinear(len(task.points))

    def _add_hidden(self, name: str):
        self.layers[f"{name}_fc"] = nn.LazyLinear(math.ceil((2048 if self.network.head == "paper" else 512) * self.network.width))

    def train(self, mode: bool = True):
        super().train(mode)
        if self.frozen:
            for name, layer in self.layers.items():
                layer.train(mode and not name.startswith("shared_"))
        return self

    def forward(self, image, layout: str = "channels_last"):
        x = (image.permute(0, 3, 1, 2) - self.mean[:, None, None]) / SCALE
        x = x.contiguous(memory_format=getattr(torch, layout))
        with torch.no_grad() if self.frozen else contextlib.nullcontext():
            shared = self._stack("shared", x)
        outputs = {}
        for task in self.tasks:
            maps = shared
            if self.network.kind == "separation":
                maps = shared | self._stack(task.name, shared[f"pool{self.branch}"] if self.branch else x, self.branch + 1, shared)
            outputs[task.name] = self._head(task, maps)
        return outputs

    def _stack(self, stack: str, x, first: int = 1, shared: dict | None = None) -> dict:
        """The maps of a stack by name, fused with the shared ones if there are such."""
        maps = {}
        for block in range(first, 5):
            for i in range(1, BLOCKS[block][0] + 1):
                x = self.layers[f"{stack}_conv{block}_{i}"](x)
                if self.network.batch_norm:
                    x = self.layers[f"{stack}_conv{block}_{i}_bn"](x)
                x = F.relu(x, inplace=True)
                if shared and self._fuses(block, i):
                    x = torch.cat([x, shared[f"conv{block}_{i}"]], dim=1)
                    if self.network.fusion == "channelwise":
                        x = self.layers[f"{stack}_fuse{block}_{i}"](x)
                maps[f"conv{block}_{i}"] = x
            maps[f"pool{block}"] = x = F.max_pool2d(x, 2)
        return maps

    def _head(self, task: Task, maps: dict):
        name = task.name
        if not isinstance(task, Landmarks):
            return self.layers[name](self._hidden(name, maps["pool4"])).float()
        if self.network.head == "softargmax":
            coarse = F.interpolate(maps["conv4_3"], scale_factor=2, mode="bilinear", align_corners=False)
            mix = F.relu(self.layers[f"{name}_mix"](torch.cat([maps["conv3_3"], coarse], dim=1)))
            points = soft_argmax(self.layers[f"{name}_heatmaps"](mix).float())
            features = mix.mean(dim=(2, 3))
        else:
            features = self._hidden(name, maps["pool4"])
            points = self.layers[f"{name}_output"](features).float().unflatten(1, (-1, 2))
        if not self.network.uncertainty:
            return points
        return torch.cat([points, self.layers[f"{name}_log_scales"](features).float()[..., None]], dim=-1)

    def _hidden(self, name: str, end):
        if self.network.head != "paper" and (size := end.shape[2] // 4) > 1:
            end = F.avg_pool2d(end, size)
        # rows, columns, channels: as smtn_keras flattens, and free where channels come last in memory
        return F.relu(self.layers[f"{name}_fc"](end.permute(0, 2, 3, 1).flatten(1)))


def soft_argmax(heatmaps):
    """Expected positions `(batch, points, 2)` in [0, 1] under the softmax of heatmaps `(batch, points, height, width)`."""
    height, width = heatmaps.shape[2:]
    weight = heatmaps.flatten(2).softmax(-1).view(heatmaps.shape)
    x = (torch.arange(width) + 0.5) / width
    y = (torch.arange(height) + 0.5) / height
    return torch.stack([(weight.sum(2) * x).sum(-1), (weight.sum(3) * y).sum(-1)], dim=-1)


def losses(outputs: dict, targets: dict, config: Config, tasks: tuple[Task, ...]):
    """The weighted sum of the tasks' losses, for targets without gaps: landmarks `(batch, points, 2)`, labels `(batch, labels)`.

    Raises:
        UserError: the configuration asks for a loss that is not rebuilt here.
    """
    training, total = config.training, 0
    if training.landmarks_loss not in ("mse", "l1") or training.attributes_loss != "cross_entropy" or training.balance != "fixed":
        raise UserError("not rebuilt in PyTorch, which has the losses mse and l1, and cross-entropy")
    for task in tasks:
        output, truth = outputs[task.name], targets[task.name]
        if isinstance(task, Landmarks):
            off = (output[..., :2] - truth) * training.landmark_scale
            if config.network.uncertainty:
                log_scale = output[..., 2:].clamp(min=-10)
                error = (off.abs() * torch.exp(-log_scale) + log_scale).mean()
            else:
                error = off.square().mean() if training.landmarks_loss == "mse" else off.abs().mean()
            total = total + training.landmarks_weight * error
        elif config.network.attribute_output == "softmax" and not task.categorical:
            pairs = output.view(-1, 2)
            total = total + training.attributes_weight * F.cross_entropy(pairs, truth.flatten())
        else:
            raise UserError("not rebuilt in PyTorch, which has two-way softmaxes for labels")
    return total


def optimizer(network: Network, config: Config):
    """As smtn_keras trains; weights alone decay, in one fused kernel."""
    training = config.training
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    if training.optimizer == "sgd":
        return torch.optim.SGD(trained, training.learning_rate, momentum=0.9, fused=True)
    groups = [
        {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [weight for weight in trained if weight.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, training.learning_rate, fused=True)


def parameters(network: Network) -> int:
    """How many weights it has, statistics of batch normalisation included."""
    return sum(tensor.numel() for tensor in network.state_dict().values() if tensor.is_floating_point())
