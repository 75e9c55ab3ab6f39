"""Exports every architecture to ONNX and compares what ONNX Runtime and OpenVINO make of it with what Osteon computes.

    .venv/bin/python check_onnx.py [--osteon ../../target/release/osteon] [--model MODEL.safetensors]

Weights and running statistics are those of fill.py, which leave no batch normalisation without effect, the last layer's made smaller where
its softmax would saturate; or those of MODEL. It prints the
largest difference of a probability, over random images of three sizes and batches, and exits with 1 above 1e-5.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import openvino
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import fill

ARCHITECTURES = [
    "inrac", "outrac", "inrac-no-residual", "inrac-no-attention", "inrac-no-residual-no-attention", "classifier-18", "classifier-34",
    "vgg-11", "inception-v1",
]
SHAPES = [(1, 256, 64), (3, 128, 64), (2, 199, 77)]
MAX_DIFFERENCE = 1e-5
MAX_LOGIT = 3.0


def make(osteon, architecture, folder):
    """A model of this architecture with the weights of fill.py."""
    flags = ["--architecture", architecture, "--input-size", "256x64"]
    drawn, weights, model = (str(folder / f"{name}.safetensors") for name in ("drawn", "weights", architecture))
    subprocess.run([osteon, "model", "new", *flags, "--output", drawn, "--force"], check=True, stdout=subprocess.DEVNULL)
    filled = {name: fill.parameter(name, value.shape) for name, value in load_file(drawn).items()}
    head = "classifier.6" if architecture == "vgg-11" else "fc"
    for _ in range(2):
        save_file(filled, weights)
        subprocess.run([osteon, "model", "import", weights, *flags, "--output", model, "--force"], check=True, stdout=subprocess.DEVNULL)
        x = np.random.default_rng(0).random((1, 1, 256, 64), dtype=np.float32)
        largest = float(np.abs(forward(osteon, model, x, folder)["logits"]).max())
        if largest <= MAX_LOGIT:
            break
        # A probability of 1 hides every difference.
        for name in (f"{head}.weight", f"{head}.bias"):
            filled[name] = filled[name] * np.float32(MAX_LOGIT / largest)
    return model


def forward(osteon, path, x, folder):
    """What Osteon makes of images."""
    given, made = str(folder / "input.safetensors"), str(folder / "output.safetensors")
    save_file({"input": x}, given)
    subprocess.run([osteon, "audit", "forward", "--model", path, "--input", given, "--output", made, "--force"], check=True)
    return load_file(made)


def check(osteon, path, folder):
    """The largest differences of ONNX Runtime's and OpenVINO's probabilities."""
    exported = str(folder / "model.onnx")
    subprocess.run([osteon, "model", "export", path, "--format", "onnx", "--output", exported, "--force"], check=True, stdout=subprocess.DEVNULL)
    proto = onnx.load(exported)
    onnx.checker.check_model(proto, full_check=True)
    weights = load_file(path)
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for name, value in weights.items():
        if name.startswith("aux"):  # in training only
            continue
        if held[name].shape != value.shape or held[name].tobytes() != value.tobytes():
            sys.exit(f"{name} is not the model file's")
    with safe_open(path, framework="np") as archive:
        about = archive.metadata()
    said = {entry.key: entry.value for entry in proto.metadata_props}
    if said != about:
        sys.exit("metadata_props are not the model file's")

    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(exported), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    differences, largest = {"ONNX Runtime": 0.0, "OpenVINO": 0.0}, 0.0
    shapes = SHAPES[:1] if json.loads(about["pooling"]) == "flatten" else SHAPES
    for batch, rows, columns in shapes:
        x = np.random.default_rng(rows).random((batch, 1, rows, columns), dtype=np.float32)
        ours = forward(osteon, path, x, folder)["probabilities"]
        theirs = {
            "ONNX Runtime": session.run(["probabilities"], {"input": x})[0],
            "OpenVINO": compiled({"input": x})["probabilities"],
        }
        for engine, probabilities in theirs.items():
            differences[engine] = max(differences[engine], float(np.abs(probabilities - ours).max()))
        largest = max(largest, float(ours.max()))
    return differences, largest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = pathlib.Path(__file__).resolve().parents[2] / "target/release/osteon"
    parser.add_argument("--osteon", type=pathlib.Path, default=default, help="the program")
    parser.add_argument("--model", type=pathlib.Path, help="this model alone")
    arguments = parser.parse_args()
    worst = 0.0
    print(f"onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}, OpenVINO {openvino.__version__.split('-')[0]}")
    print(f"{'largest difference of a probability':36}{'ONNX Runtime':>13}{'OpenVINO':>13}{'largest probability':>21}")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name in [arguments.model] if arguments.model else ARCHITECTURES:
            path = str(name) if arguments.model else make(arguments.osteon, name, folder)
            differences, largest = check(arguments.osteon, path, folder)
            print(f"{str(name):36}" + "".join(f"{difference:13.1e}" for difference in differences.values()) + f"{largest:21.4f}")
            worst = max(worst, *differences.values())
    if not worst <= MAX_DIFFERENCE:
        sys.exit(f"a probability differs by {worst:.1e}, more than {MAX_DIFFERENCE:.0e}")


if __name__ == "__main__":
    main()
