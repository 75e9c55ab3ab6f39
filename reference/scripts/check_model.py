"""Loads a model file of Osteon into PyTorch by name, and compares what the two compute.

    .venv/bin/python check_model.py MODEL.safetensors [--osteon ../../target/release/osteon] [--size 128x64] [--batch 3]

PyTorch computes in float64. Gradients are shown without a bound: where rounding decides a ReLU or a maximum, that of a random
input may differ in the third digit (see `TRAINING` in goldens.py).
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

VARIANTS = {  # architecture: blocks, attention
    "inrac": ((2, 3, 5, 2), "inside"),
    "outrac": ((2, 3, 5, 2), "outside"),
    "classifier-18": ((2, 2, 2, 2), "inside"),
    "classifier-34": ((3, 4, 6, 3), "inside"),
    "residual-26": ((2, 3, 5, 2), "none"),
}
MAX_LOGIT_ERROR = 1e-4


def relative(actual, expected):
    return ((actual.double() - expected).norm() / expected.norm()).item()


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
    if architecture not in VARIANTS:
        sys.exit(f"{architecture}: network.py has only {', '.join(VARIANTS)}")
    blocks, attention = VARIANTS[architecture]
    net = network.Classifier(len(classes), blocks, attention)
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
                [arguments.osteon, "audit", what, "--model", arguments.model, "--input", given, "--output", made], check=True
            )
            return load_file(made)

        forward, gradients = audit("forward"), audit("gradients")

    net.double()
    with torch.no_grad():
        logits = net.eval()(x.double())
    error = relative(forward["logits"], logits)
    print(f"logits           {error:.1e} of {MAX_LOGIT_ERROR:.0e} allowed")
    print(f"probabilities    {relative(forward['probabilities'], F.softmax(logits, 1)):.1e}")
    loss = F.cross_entropy(net.train()(x.double()), labels)
    loss.backward()
    print(f"training loss    {relative(gradients['loss'], loss.detach()):.1e}")
    errors = {name: relative(gradients["grad." + name], p.grad) for name, p in net.named_parameters()}
    worst = max(errors, key=errors.get)
    median = sorted(errors.values())[len(errors) // 2]
    print(f"gradients        {median:.1e} median, {errors[worst]:.1e} worst ({worst}) of {len(errors)}")
    moved = {name: value for name, value in net.named_buffers() if not name.endswith("num_batches_tracked")}
    print(f"statistics       {max(relative(gradients[name], value) for name, value in moved.items()):.1e} worst of {len(moved)}")
    if not error <= MAX_LOGIT_ERROR:
        sys.exit("the logits differ")


if __name__ == "__main__":
    main()
