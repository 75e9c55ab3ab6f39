"""Writes ../goldens/*.safetensors: what PyTorch makes of inputs and weights that `fill.py` spells out.

    .venv/bin/python goldens.py [--check] [operations] [blocks] [network] [networks]

With --check it compares them with what this machine computes instead; without names it takes all four files.

Everything is computed in float64 and kept in float32 (losses, norms and projections in float64), in PyTorch's layouts. A tensor of
more than FULL values is kept as its norm, a sample and projections: `golden.rs` says why that is enough; in `networks` every gradient is
norm and projections, a row of a table. Each file's metadata holds the versions that made it, and how far PyTorch's own float32 is from
its float64, in the same measure as the tests'. --search prints how the inputs of `networks` were chosen.
"""

import functools
import json
import math
import pathlib
import platform
import sys

import numpy as np
import safetensors
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.numpy import save_file

import network
from fill import SAMPLES, fill, images, parameter, projections, sample_indices

FULL = 4096
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "goldens"


class Results(dict):
    """Tensors by name, of one run in one precision."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def value(self, array):
        return torch.from_numpy(array).to(self.dtype)

    def leaf(self, name, shape, centre=0.0, scale=1.0):
        return self.value(fill(name, shape, centre, scale)).requires_grad_()

    def keep(self, name, tensor):
        self[name] = tensor.detach().to(torch.float64).numpy() if torch.is_tensor(tensor) else np.asarray(tensor)

    def backward(self, case, output, **leaves):
        """Keeps the output, and the gradients of `sum(output * grad_output)` for a random `grad_output`."""
        output.backward(self.value(fill(case + ".grad_output", output.shape)))
        self.keep(case + ".output", output)
        for name, leaf in leaves.items():
            self.keep(f"{case}.grad_{name}", leaf.grad)


# Operations. `shape` holds what a case is; the tests read it, so that a case is added here alone.

# batch, in channels, rows, columns, out channels, kernel, stride, padding (rows and columns each)
CONVOLUTIONS = {
    "stem_7x7_stride_2": (2, 1, 33, 25, 64, 7, 7, 2, 2, 3, 3),
    "3x3": (2, 32, 11, 9, 32, 3, 3, 1, 1, 1, 1),
    "3x3_wide": (1, 64, 6, 21, 48, 3, 3, 1, 1, 1, 1),
    "3x3_deep": (1, 512, 4, 3, 512, 3, 3, 1, 1, 1, 1),
    "3x3_stride_2": (2, 24, 12, 9, 40, 3, 3, 2, 2, 1, 1),
    "1x1": (2, 17, 5, 7, 9, 1, 1, 1, 1, 0, 0),
    "1x1_stride_2": (2, 24, 11, 9, 40, 1, 1, 2, 2, 0, 0),
    "attention_7x7": (2, 2, 13, 8, 1, 7, 7, 1, 1, 3, 3),
    "5x3_stride_2x1": (1, 5, 10, 9, 7, 5, 3, 2, 1, 2, 0),
    "3x3_unpadded": (3, 3, 7, 6, 11, 3, 3, 1, 1, 0, 0),
    "2x2_stride_3_leaves_gaps": (1, 4, 9, 9, 8, 2, 2, 3, 3, 0, 0),
    "5x5_larger_than_image": (2, 3, 4, 2, 6, 5, 5, 1, 1, 2, 2),
}

# m, n, k, A transposed, B transposed
GEMMS = {
    "plain": (37, 29, 41, 0, 0),
    "transposed_a": (19, 33, 65, 1, 0),
    "transposed_b": (64, 48, 100, 0, 1),
    "transposed_both": (5, 7, 11, 1, 1),
    "row": (1, 50, 300, 0, 0),
    "deep": (16, 24, 3000, 0, 0),
}

# batch, channels, rows, columns, kernel, stride, padding
POOLS = {
    "3x3_stride_2": (2, 17, 11, 8, 3, 3, 2, 2, 1, 1),
    "2x2": (1, 8, 7, 6, 2, 2, 2, 2, 0, 0),
    "3x2_stride_1x3": (2, 5, 6, 9, 3, 2, 1, 3, 1, 1),
}

# The same, with ceil_mode: of maxima only.
CEIL_POOLS = {
    "ceil": (2, 9, 8, 7, 3, 3, 2, 2, 0, 0),
    "ceil_padded": (1, 5, 6, 9, 3, 2, 2, 3, 1, 1),
    "ceil_2x2": (2, 3, 5, 4, 2, 2, 2, 2, 0, 0),
}

# batch, channels, rows, columns, windows
ADAPTIVE_POOLS = {
    "divisible": (2, 17, 16, 4, 4, 4),
    "overlapping": (1, 8, 7, 5, 4, 4),
    "smaller": (2, 3, 1, 3, 4, 4),
}

# batch, rows, columns, channels of each part
CONCATS = {"inception": (2, 3, 5, 16, 24, 9, 8)}

# batch, channels, rows, columns
REDUCTIONS = {"odd": (2, 19, 7, 5), "wide": (1, 64, 3, 4), "one_pixel": (3, 8, 1, 1), "one_channel": (2, 1, 5, 6)}


def operations(r):
    for name, shape in CONVOLUTIONS.items():
        case = "conv2d." + name
        n, c, h, w, o, kh, kw, sh, sw, ph, pw = shape
        x, weight = r.leaf(case + ".input", (n, c, h, w)), r.leaf(case + ".weight", (o, c, kh, kw))
        r.keep(case + ".shape", shape)
        r.backward(case, F.conv2d(x, weight, stride=(sh, sw), padding=(ph, pw)), input=x, weight=weight)

    for name, shape in GEMMS.items():
        case = "gemm." + name
        m, n, k, ta, tb = shape
        a, b = r.leaf(case + ".a", (k, m) if ta else (m, k)), r.leaf(case + ".b", (n, k) if tb else (k, n))
        r.keep(case + ".shape", shape)
        r.backward(case, (a.T if ta else a) @ (b.T if tb else b), a=a, b=b)

    for name, shape in {"odd": (3, 19, 5, 7), "stage": (2, 64, 9, 4), "six_pixels": (2, 8, 3, 1)}.items():
        case = "batch_norm." + name
        c = shape[1:2]
        x = r.leaf(case + ".input", shape, 3.0, 2.0)
        gamma, beta, mean, var = (r.value(parameter(f"{case}.{p}", c)) for p in ["weight", "bias", "running_mean", "running_var"])
        r.keep(case + ".shape", shape)
        r.keep(case + ".inference", F.batch_norm(x, mean, var, gamma, beta, False, 0.1, 1e-5))
        gamma.requires_grad_(), beta.requires_grad_()
        r.backward(case, F.batch_norm(x, mean, var, gamma, beta, True, 0.1, 1e-5), input=x, weight=gamma, bias=beta)
        r.keep(case + ".running_mean", mean)
        r.keep(case + ".running_var", var)

    for name, length in {"odd": 1003, "short": 5}.items():
        for op, function in {"relu": F.relu, "sigmoid": torch.sigmoid}.items():
            case = f"{op}.{name}"
            x = r.leaf(case + ".input", (length,), 0.0, 1.0 if op == "relu" else 8.0)
            r.keep(case + ".shape", (length,))
            r.backward(case, function(x), input=x)
        case = "add." + name
        a, b = r.leaf(case + ".a", (length,)), r.leaf(case + ".b", (length,))
        r.keep(case + ".shape", (length,))
        r.backward(case, a + b, a=a, b=b)

    for name, shape in POOLS.items():
        n, c, h, w, kh, kw, sh, sw, ph, pw = shape
        for op, function in {"max_pool": F.max_pool2d, "average_pool": F.avg_pool2d}.items():
            case = f"{op}.{name}"
            x = r.leaf(case + ".input", (n, c, h, w))
            r.keep(case + ".shape", shape)
            r.backward(case, function(x, (kh, kw), (sh, sw), (ph, pw)), input=x)

    for name, shape in CEIL_POOLS.items():
        n, c, h, w, kh, kw, sh, sw, ph, pw = shape
        case = "ceil_max_pool." + name
        x = r.leaf(case + ".input", (n, c, h, w))
        r.keep(case + ".shape", shape)
        r.backward(case, F.max_pool2d(x, (kh, kw), (sh, sw), (ph, pw), ceil_mode=True), input=x)

    for name, shape in ADAPTIVE_POOLS.items():
        case = "adaptive_average." + name
        x = r.leaf(case + ".input", shape[:4])
        r.keep(case + ".shape", shape)
        r.backward(case, F.adaptive_avg_pool2d(x, shape[4:]), input=x)

    for name, (n, h, w, *channels) in CONCATS.items():
        case = "concat." + name
        parts = {f"part_{k}": r.leaf(f"{case}.part_{k}", (n, c, h, w)) for k, c in enumerate(channels)}
        r.keep(case + ".shape", (n, h, w, *channels))
        r.backward(case, torch.cat(list(parts.values()), 1), **parts)

    for name, shape in REDUCTIONS.items():
        n, c, h, w = shape
        for op, function in {
            "global_average": lambda x: x.mean((2, 3)),
            "global_max": lambda x: F.adaptive_max_pool2d(x, 1).flatten(1),
            "channel_stats": lambda x: torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], 1),
        }.items():
            case = f"{op}.{name}"
            x = r.leaf(case + ".input", shape)
            r.keep(case + ".shape", shape)
            r.backward(case, function(x), input=x)
        for op, factor_shape in {"scale_channels": (n, c, 1, 1), "scale_pixels": (n, 1, h, w)}.items():
            case = f"{op}.{name}"
            x, factor = r.leaf(case + ".input", shape), r.leaf(case + ".factor", factor_shape)
            r.keep(case + ".shape", shape)
            r.backward(case, x * factor, input=x, factor=factor)

    # After a ReLU many maxima are zeros that tie: the first in scan order has the gradient.
    for op, shape, function in [
        ("max_pool", (1, 6, 9, 7, 3, 3, 2, 2, 1, 1), lambda x: F.max_pool2d(x, 3, 2, 1)),
        ("global_max", (3, 16, 2, 1), lambda x: F.adaptive_max_pool2d(x, 1).flatten(1)),
        ("channel_stats", (2, 4, 5, 6), lambda x: torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], 1)),
    ]:
        case = op + ".ties"
        x = F.relu(r.value(fill(case + ".input", shape[:4]))).requires_grad_()
        r.keep(case + ".shape", shape)
        r.keep(case + ".input", x)
        r.backward(case, function(x), input=x)

    for name, shape in {"classes": (4, 512, 3), "hidden": (3, 64, 4), "odd": (5, 13, 11)}.items():
        case = "linear." + name
        batch, inputs, outputs = shape
        x, weight, bias = r.leaf(case + ".input", (batch, inputs)), r.leaf(case + ".weight", (outputs, inputs)), r.leaf(case + ".bias", (outputs,))
        r.keep(case + ".shape", shape)
        r.backward(case, F.linear(x, weight, bias), input=x, weight=weight, bias=bias)

    for name, (batch, classes, scale) in {"three": (8, 3, 4.0), "odd": (5, 11, 1.0), "extreme": (6, 3, 200.0)}.items():
        case = "cross_entropy." + name
        logits = r.leaf(case + ".input", (batch, classes), 0.0, scale)
        labels = np.array([(5 * i + 2) % classes for i in range(batch)])
        loss = F.cross_entropy(logits, torch.from_numpy(labels))
        loss.backward()
        r.keep(case + ".shape", (batch, classes))
        r.keep(case + ".scale", np.float64(scale))
        r.keep(case + ".labels", labels)
        r.keep(case + ".output", loss)
        r.keep(case + ".probabilities", F.softmax(logits, 1))
        r.keep(case + ".grad_input", logits.grad)

    for name, (steps, lr, beta1, beta2, epsilon, decay) in {
        "defaults": (5, 1e-3, 0.9, 0.999, 1e-8, 0.0),
        "paper": (12, 1e-2, 0.9, 0.999, 1e-8, 0.0),
        "decay": (7, 1e-2, 0.8, 0.99, 1e-3, 0.1),
    }.items():
        case, length = "adam." + name, 203
        p = r.leaf(case + ".parameter", (length,))
        adam = torch.optim.Adam([p], lr=lr, betas=(beta1, beta2), eps=epsilon, weight_decay=decay)
        for step in range(steps):
            p.grad = r.value(fill(f"{case}.gradient.{step}", (length,), 0.1, 1.0))
            adam.step()
        r.keep(case + ".shape", (length, steps))
        r.keep(case + ".settings", np.array([lr, beta1, beta2, epsilon, decay]))
        r.keep(case + ".output", p)
        r.keep(case + ".first_moment", adam.state[p]["exp_avg"])
        r.keep(case + ".second_moment", adam.state[p]["exp_avg_sq"])


# Networks share most of their names.
parameter_once = functools.cache(parameter)


def filled(r, module, prefix=""):
    """The module with the formula's parameters and running statistics."""
    state = {name: torch.from_numpy(parameter_once(prefix + name, tuple(v.shape))) for name, v in network.state_to_save(module).items()}
    return network.load(module, state).to(r.dtype)


def keep_learnt(r, case, module):
    """Keeps every parameter's gradient and every running statistic."""
    for name, p in module.named_parameters():
        r.keep(f"{case}.grad.{name}", p.grad)
    for name, value in module.named_buffers():
        if not name.endswith("num_batches_tracked"):
            r.keep(f"{case}.{name}", value)


BLOCKS = {
    "stem": (network.Stem, (2, 1, 37, 29)),
    "channel_attention": (lambda: network.ChannelAttention(32), (3, 32, 9, 7)),
    "spatial_attention": (network.SpatialAttention, (2, 32, 9, 11)),
    "hybrid_attention": (lambda: network.HybridAttention(48), (2, 48, 7, 10)),
    "residual": (lambda: network.Block(32, 32, 1, "none"), (3, 32, 9, 7)),
    "residual_downsample": (lambda: network.Block(32, 48, 2, "none"), (3, 32, 9, 7)),
    "inrac": (lambda: network.Block(32, 32, 1, "inside"), (3, 32, 9, 7)),
    "inrac_downsample": (lambda: network.Block(32, 64, 2, "inside"), (3, 32, 11, 8)),
    "outrac": (lambda: network.Block(32, 32, 1, "outside"), (3, 32, 9, 7)),
    "outrac_downsample": (lambda: network.Block(16, 32, 2, "outside"), (3, 16, 9, 12)),
}


def blocks(r):
    for name, (make, shape) in BLOCKS.items():
        case = "block." + name
        module = filled(r, make(), case + ".")
        x = r.leaf(case + ".input", shape)
        r.keep(case + ".shape", shape)
        r.keep(case + ".inference", module.eval()(x))
        r.backward(case, module.train()(x), input=x)
        keep_learnt(r, case, module)


# The gradient of a network of ReLUs and maxima jumps where a choice falls the other way, and among half a million choices some are
# always so near a tie that rounding decides: PyTorch's own float32 is then up to 3e-2 from its float64, whatever the engine. So
# the input is chosen: of the names network.input.0 to .13, this one's gradients stay within 6e-5 when all weights are perturbed by
# random 3e-6 of themselves, in six trials. Stage 4 still has 3x2 pixels an image for its batch normalisation.
TRAINING = ("network.input.13", (3, 1, 65, 47), [0, 1, 2])
INFERENCE = {"least": (1, 1, 32, 32), "odd": (3, 1, 45, 97), "tall": (1, 1, 256, 64)}
CURVE_STEPS = 10
# Adam's first steps are nearly lr * sign(gradient), so a parameter whose gradient is rounding noise goes either way by 2 lr.
# The larger the rate, the sooner ten steps forget where they began; at this one the loss also falls slowly enough for each of the ten to
# count in their l2 norm.
CURVE_LEARNING_RATE = 2e-5


def whole_network(r):
    net = filled(r, network.Classifier())
    for name, shape in INFERENCE.items():
        case = "inference." + name
        logits = net.eval()(r.value(images(case + ".input", shape)))
        r.keep(case + ".shape", shape)
        r.keep(case + ".logits", logits)
        r.keep(case + ".probabilities", F.softmax(logits, 1))

    name, shape, labels = TRAINING
    x, labels = r.value(images(name, shape)), torch.tensor(labels)
    logits = net.train()(x)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    r.keep("training.input", name_bytes(name))
    r.keep("training.shape", shape)
    r.keep("training.labels", labels.numpy())
    r.keep("training.logits", logits)
    r.keep("training.loss", loss)
    keep_learnt(r, "training", net)

    net = filled(r, network.Classifier()).train()
    adam = torch.optim.Adam(net.parameters(), lr=CURVE_LEARNING_RATE)
    losses = []
    for _ in range(CURVE_STEPS):
        adam.zero_grad()
        loss = F.cross_entropy(net(x), labels)
        loss.backward()
        adam.step()
        losses.append(loss.item())
    r.keep("curve.learning_rate", np.float64(CURVE_LEARNING_RATE))
    r.keep("curve.losses", np.array(losses))


# As TRAINING, for each network: of the inputs network.input.0, .1 ... the first whose gradients stay within STABLE when all weights are
# perturbed by random 2e-6 of themselves, in three trials (`goldens.py --search`). Inception-v1 divides maps of 4x2 pixels into 4x4
# windows here. VGG-11 flattens maps of 2x1 pixels, and once more takes their mean.
NETWORK_INPUTS = {
    "outrac": 65, "inrac-no-residual": 40, "inrac-no-attention": 1, "inrac-no-residual-no-attention": 33, "classifier-18": 0,
    "classifier-34": 1, "vgg-11": 9, "vgg-11-average": 9, "inception-v1": 0,
}
NETWORK_SHAPE, NETWORK_LABELS = (3, 1, 64, 33), [0, 1, 2]
PERTURBATION, STABLE = 2e-6, 3e-4


def make(name):
    """The network of that name; a suffix `-average` is no part of its own."""
    own = name.removesuffix("-average")
    return network.ARCHITECTURES[own](3, None if own != name else NETWORK_SHAPE[2:])


def table(r, case, values):
    """Keeps norm and projections of many tensors, sorted by name, a row each. Of float64 alone: they take long."""
    if r.dtype == torch.float32:
        return
    rows = [[np.linalg.norm(v), *projections(f"{case}.{n}", v)] for n, v in sorted(values.items())]
    r[case] = np.array(rows)


def train(r, name, number):
    """Logits, loss, gradients and running statistics of one step."""
    net = filled(r, make(name)).train()
    x = r.value(images(f"network.input.{number}", NETWORK_SHAPE))
    outputs = net(x)
    loss = network.loss(outputs, torch.tensor(NETWORK_LABELS))
    loss.backward()
    logits = outputs[0] if isinstance(outputs, tuple) else outputs
    gradients = {n: p.grad.double().numpy().reshape(-1) for n, p in net.named_parameters()}
    statistics = {n: v.double().numpy() for n, v in net.named_buffers() if not n.endswith("num_batches_tracked")}
    return net, logits, loss, gradients, statistics


def networks(r):
    """Every other network."""
    for name, number in NETWORK_INPUTS.items():
        net, logits, loss, gradients, statistics = train(r, name, number)
        r.keep(f"{name}.input", np.array([number]))
        r.keep(f"{name}.shape", NETWORK_SHAPE)
        r.keep(f"{name}.labels", NETWORK_LABELS)
        r.keep(f"{name}.logits", logits)
        r.keep(f"{name}.loss", loss)
        table(r, f"{name}.gradients", gradients)
        if statistics:
            table(r, f"{name}.statistics", statistics)
        net = filled(r, make(name)).eval()
        r.keep(f"{name}.inference", net(r.value(images(f"network.input.{number}", NETWORK_SHAPE))))


def search():
    """Prints, for each network, how far gradients move with the weights, for input after input."""
    asked = [argument for argument in sys.argv[1:] if argument in NETWORK_INPUTS] or NETWORK_INPUTS
    for name in asked:
        net = filled(Results(torch.float64), make(name)).train()
        weights = [p.detach().clone() for p in net.parameters()]

        def gradients(number, trial=None):
            torch.manual_seed(trial or 0)
            with torch.no_grad():
                for p, weight in zip(net.parameters(), weights):
                    p.copy_(weight if trial is None else weight * (1 + PERTURBATION * torch.randn_like(weight)))
            net.zero_grad()
            x = torch.from_numpy(images(f"network.input.{number}", NETWORK_SHAPE)).double()
            network.loss(net(x), torch.tensor(NETWORK_LABELS)).backward()
            return [p.grad.numpy().reshape(-1).copy() for p in net.parameters()]

        best = math.inf
        for number in range(200):
            truth, worst = gradients(number), 0.0
            for trial in range(3):
                worst = max(worst, *map(relative, gradients(number, trial), truth))
                if worst > max(STABLE, best):
                    break
            if worst < best:
                best = worst
                print(f'"{name}": {number},  # {worst:.1e}', flush=True)
            if worst <= STABLE:
                break


def name_bytes(name):
    return np.frombuffer(name.encode(), dtype=np.uint8).astype(np.int64)


def stored(name, value):
    """What a file holds of a result."""
    if value.dtype == np.int64:
        return {name: value}
    if name.endswith((".gradients", ".statistics")):
        return {name: value.astype(np.float32)}
    if value.size > FULL:
        flat = value.reshape(-1)
        sample = flat[sample_indices(flat.size)].astype(np.float32)
        norm = np.float64(np.linalg.norm(flat))
        return {name + ".norm": np.array(norm), name + ".sample": sample, name + ".projections": projections(name, flat)}
    wide = value.ndim == 0 or name in ("curve.losses",) or name.endswith(".settings")
    return {name: np.ascontiguousarray(value if wide else value.astype(np.float32))}


def relative(actual, expected):
    norm = np.linalg.norm(expected)
    return float(np.linalg.norm(actual - expected) / norm) if norm else float(np.linalg.norm(actual))


def run(compute):
    with_dtype = {}
    for dtype in (torch.float64, torch.float32):
        results = with_dtype[dtype] = Results(dtype)
        compute(results)
    truth, single = with_dtype[torch.float64], with_dtype[torch.float32]
    tensors = {}
    for name, value in truth.items():
        tensors |= stored(name, value)
    errors = {n: relative(single[n], v) for n, v in truth.items() if v.dtype != np.int64 and n in single}
    worst = sorted(errors, key=errors.get, reverse=True)[:5]
    about = {
        "made_by": "reference/scripts/goldens.py",
        "torch": torch.__version__,
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "computed_in": "float64",
        "worst_relative_errors_of_float32": {n: float(f"{errors[n]:.2g}") for n in worst},
    }
    return tensors, about


def main():
    torch.set_num_threads(2)
    FOLDER.mkdir(exist_ok=True)
    if "--search" in sys.argv:
        return search()
    files = {"operations": operations, "blocks": blocks, "network": whole_network, "networks": networks}
    asked = [argument for argument in sys.argv[1:] if argument in files] or files
    for file in asked:
        tensors, about = run(files[file])
        path = FOLDER / f"{file}.safetensors"
        if "--check" in sys.argv:
            with safe_open(path, framework="numpy") as archive:
                if set(archive.keys()) != set(tensors):
                    sys.exit(f"{path.name}: other names; write it again")
                worst = max((relative(tensors[n].astype(np.float64), archive.get_tensor(n)), n) for n in tensors)
            print(f"{path.name}: {len(tensors)} tensors, worst relative difference {worst[0]:.1e} ({worst[1]})")
            if worst[0] > 1e-6:
                sys.exit(f"{path.name}: differs from what this machine computes")
        else:
            # One key: safetensors writes several in random order, and equal contents should be equal bytes.
            save_file(tensors, path, metadata={"about": json.dumps(about)})
            print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes; {json.dumps(about, indent=1)}")


if __name__ == "__main__":
    main()
