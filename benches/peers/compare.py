"""Times Osteon and PyTorch in turn on the same network, after checking that they compute the same. See README.md."""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PYTHON = HERE / ".venv/bin/python"
MAX_LOGIT_ERROR = 1e-4
SECONDS = {"forward_seconds_per_image": "inference", "training_step_seconds_per_image": "training step"}


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", action="store_true", help=f"make {PYTHON.parent.parent.relative_to(ROOT)} if it is not there")
    parser.add_argument("--osteon", type=pathlib.Path, default=ROOT / "target/release/osteon", help="the program")
    parser.add_argument("--size", default="1024x256", help="rows x columns")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=2, help="how often each engine has its turn")
    parser.add_argument("--rounds", type=int, default=3, help="measurements a turn, of which the median counts")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--pytorch-turn", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def enter_venv(make):
    """Goes on in the script's own environment, if there is one or it is asked for."""
    if not PYTHON.exists():
        if not make:
            return
        subprocess.run([sys.executable, "-m", "venv", PYTHON.parent.parent], check=True)
        subprocess.run([PYTHON, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
    if pathlib.Path(sys.prefix).resolve() != PYTHON.parent.parent.resolve():
        os.execv(PYTHON, [str(PYTHON), *sys.argv])


def images(arguments, batch):
    import torch

    rows, columns = map(int, arguments.size.split("x"))
    return torch.rand(batch, 1, rows, columns, generator=torch.Generator().manual_seed(1))


def classifier():
    import torch

    sys.path.insert(0, str(ROOT / "reference/scripts"))
    import network

    torch.manual_seed(0)
    return network.Classifier(), network


def check(arguments):
    """The relative difference of both engines' logits from the same weights and images."""
    import torch
    from safetensors.torch import load_file, save_file

    net, network = classifier()
    x = images(arguments, 1)
    with tempfile.TemporaryDirectory() as folder:
        weights, model, given, made = (f"{folder}/{name}.safetensors" for name in ("weights", "model", "input", "output"))
        save_file(network.state_to_save(net), weights)
        save_file({"input": x}, given)
        names = ["--architecture", "inrac", "--classes", "NoMet,ADMet,nADMet", "--input-size", arguments.size, "--output", model]
        subprocess.run([arguments.osteon, "model", "import", weights, *names], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([arguments.osteon, "audit", "forward", "--model", model, "--input", given, "--output", made], check=True)
        logits = load_file(made)["logits"]
    with torch.no_grad():
        expected = net.eval()(x)
    return ((logits - expected).norm() / expected.norm()).item()


def pytorch_turn(arguments):
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(arguments.threads)
    net = classifier()[0].to(memory_format=torch.channels_last)
    x = images(arguments, arguments.batch).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(arguments.batch) % 3
    adam = torch.optim.Adam(net.parameters(), lr=1e-4)

    def forward():
        with torch.no_grad():
            net(x)

    def step():
        adam.zero_grad()
        F.cross_entropy(net(x), labels).backward()
        adam.step()

    def median(work):
        work()  # warms up
        times = []
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return statistics.median(times) / arguments.batch

    net.eval()
    figures = {"forward_seconds_per_image": median(forward)}
    net.train()
    return figures | {"training_step_seconds_per_image": median(step), "version": torch.__version__}


def output_of(command):
    return json.loads(subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE).stdout)


def main():
    arguments = parse()
    if arguments.pytorch_turn:
        return print(json.dumps(pytorch_turn(arguments)))
    enter_venv(arguments.venv)
    if not arguments.osteon.exists():
        sys.exit(f"{arguments.osteon} is not there; run `cargo build --release`, or say where it is by --osteon")
    try:
        error = check(arguments)
    except ModuleNotFoundError as missing:
        sys.exit(f"{missing}; give --venv to have PyTorch installed in an environment of its own")
    if not error <= MAX_LOGIT_ERROR:
        sys.exit(f"the engines' logits differ by {error:.1e} where {MAX_LOGIT_ERROR:.0e} is allowed: there is nothing to compare")

    common = ["--size", arguments.size, "--batch", arguments.batch, "--threads", arguments.threads, "--rounds", arguments.rounds]
    engines = {
        "Osteon": [arguments.osteon, "bench", "--json", *common],
        "PyTorch": [sys.executable, __file__, "--pytorch-turn", *common],
    }
    turns = {name: [] for name in engines}
    for turn in range(arguments.turns):
        for name, command in engines.items():
            print(f"turn {turn + 1} of {arguments.turns}: {name}", file=sys.stderr, flush=True)
            turns[name].append(output_of(command))

    results = {key: {name: [t[key] for t in turns[name]] for name in engines} for key in SECONDS}
    if arguments.json:
        return print(json.dumps({"logit_error": error, "size": arguments.size, "batch": arguments.batch, **results}, indent=1))
    versions = f"PyTorch {turns['PyTorch'][0]['version']}, channels last"
    print(f"26-layer network at {arguments.size}, batch {arguments.batch}, {arguments.threads} threads; {versions}")
    print(f"logits of both differ by {error:.1e} in the l2 norm")
    print(f"{'seconds an image':18} {'Osteon':>9} {'PyTorch':>9} {'ratio':>7}   turns of Osteon; of PyTorch")
    for key, title in SECONDS.items():
        osteon, pytorch = (statistics.median(results[key][name]) for name in engines)
        each = "; ".join(" ".join(f"{s:.3f}" for s in results[key][name]) for name in engines)
        print(f"{title:18} {osteon:9.3f} {pytorch:9.3f} {osteon / pytorch:7.2f}   {each}")


if __name__ == "__main__":
    main()
