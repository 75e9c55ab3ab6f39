"""Loads a model file of Osteon into PyTorch by name, and compares what the two compute.

    .venv/bin/python check_model.py MODEL.safetensors [--osteon ../../target/release/osteon] [--size 128x64] [--batch 3]

It prints relative errors in the l2 norm against PyTorch in float64, and beside them those of PyTorch's own float32. Only the logits
have a bound: where rounding decides a ReLU or a maximum, anyone's gradient of a random input may differ in the second digit (see
`TRAINING` in goldens.py). A model that flattens its maps takes images of its own --size alone.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import network

MAX_LOGIT_ERROR = 1e-4


def relative(actual, expected):
    return ((actual.double() - expected).norm() / expected.norm()).item()


def pytorch(net, x, labels):
    """What both audit commands write. Leaves the network as it was."""
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        logits = net.eval()(x)
    net.zero_grad()
    loss = network.loss(net.train()(x), labels)
    loss.backward()
    made = {"logits": logits, "probabilities": F.softmax(logits, 1), "loss": loss.detach()}
    made |= {"grad." + name: p.grad.clone() for name, p in net.named_parameters()}
    made |= {name: value.clone() for name, value in net.named_buffers() if not name.endswith("num_batches_tracked")}
    net.load_state_dict(before)
    return made


def group_of(name):
    if name.startswith("grad."):
        return "gradients"
    return "running statistics" if ".running_" in name else name


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = pathlib.Path(__file__).resolve().parents[2] / "target/release/osteon"
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--osteon", type=pathlib.Path, default=default, help="the program")
    parser.add_argument("--size", default="128x64", help="rows x columns of the random images")
    parser.add_argument("--batch", type=int, default=3)
    arguments = parser.parse_args()

    with safe_open(arguments.model, framework="pt") as archive:
        about = archive.metadata()
    architecture, classes = about["architecture"], json.loads(about["classes"])
    own_size = tuple(map(int, about["input_size"].split("x"))) if json.loads(about["pooling"]) == "flatten" else None
    net = network.ARCHITECTURES[architecture](len(classes), own_size)
    network.load(net, load_file(arguments.model))  # strict: every name and shape must fit
    print(f"{architecture} for {', '.join(classes)}: {sum(p.numel() for p in net.parameters())} parameters loaded by name")

    torch.manual_seed(0)
    rows, columns = map(int, arguments.size.split("x"))
    x = torch.randn(arguments.batch, 1, rows, columns)
    labels = torch.arange(arguments.batch) % len(classes)
    with tempfile.TemporaryDirectory() as folder:
        given, made = f"{folder}/input.safetensors", f"{folder}/output.safetensors"
        save_file({"input": x, "labels": labels}, given)

        def audit(what):
            subprocess.run(
                [arguments.osteon, "audit", what, "--model", arguments.model, "--input", given, "--output", made, "--force"],
                check=True,
            )
            return load_file(made)

        forward, gradients = audit("forward"), audit("gradients")

    truth, single = (pytorch(net.to(dtype), x.to(dtype), labels) for dtype in (torch.float64, torch.float32))
    osteon = {"logits": forward["logits"], "probabilities": forward["probabilities"], **gradients}
    error = {}
    print(f"{'':18}{'Osteon':>8} {'PyTorch':>8}")
    for group in ("logits", "probabilities", "loss", "gradients", "running statistics"):
        names = [name for name in truth if group_of(name) == group]
        error[group], own = (max(relative(made[name], truth[name]) for name in names) for made in (osteon, single))
        print(f"{group:18}{error[group]:8.1e} {own:8.1e}{f'  worst of {len(names)}' if len(names) > 1 else ''}")
    if not error["logits"] <= MAX_LOGIT_ERROR:
        sys.exit(f"the logits differ by more than {MAX_LOGIT_ERROR:.0e}")


if __name__ == "__main__":
    main()
