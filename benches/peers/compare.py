"""Times Osteon, OpenVINO, ONNX Runtime, PyTorch and engines in Rust in turn on the same network, after checking that they compute the
same. See README.md."""

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
RUST = HERE / "rust"
MAX_LOGIT_ERROR = 1e-4

# What is done: the part, images a batch, threads, and who can do it.
EVERYBODY = ["Osteon", "OpenVINO", "ONNX Runtime", "PyTorch"]
TRAINERS = ["Osteon", "PyTorch"]
# With --rust, in inference only: the file that each reads. candle's dependencies have one more licence: see README.md.
RUST_ENGINES = {"tract": "batch{}.onnx", "rten": "batch{}.onnx", "candle": "weights.safetensors", "burn": "weights.safetensors"}
RUST_DEFAULT = "tract,rten,burn"
WORKS = [
    ("inference", 8, 2, EVERYBODY),
    ("inference", 1, 2, EVERYBODY),
    ("inference", 8, 1, EVERYBODY),
    ("training", 8, 2, TRAINERS),
    ("training", 8, 1, TRAINERS),
]


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", action="store_true", help=f"make {PYTHON.parent.parent.relative_to(ROOT)} if it is not there")
    known = f"these of {','.join(RUST_ENGINES)} too; without a list {RUST_DEFAULT}"
    parser.add_argument("--rust", nargs="?", const=RUST_DEFAULT, default="", metavar="ENGINES", help=f"build and time {known}")
    parser.add_argument("--osteon", type=pathlib.Path, default=ROOT / "target/release/osteon", help="the program")
    parser.add_argument("--size", default="1024x256", help="rows x columns")
    parser.add_argument("--turns", type=int, default=4, help="how often each engine has its turn")
    parser.add_argument("--rounds", type=int, default=2, help="measurements a turn; the median of all of them counts")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures to this file too")
    parser.add_argument("--markdown", type=pathlib.Path, help="write the table to this file too")
    for name in ("--engine", "--part", "--folder"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in ("--batch", "--threads"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.rust = [engine for engine in arguments.rust.split(",") if engine]
    if unknown := set(arguments.rust) - set(RUST_ENGINES):
        parser.error(f"--rust does not know {', '.join(sorted(unknown))}")
    return arguments


def enter_venv(make):
    """Goes on in the script's own environment, if there is one or it is asked for."""
    if not PYTHON.exists():
        if not make:
            return
        subprocess.run([sys.executable, "-m", "venv", PYTHON.parent.parent], check=True)
        subprocess.run([PYTHON, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
    if pathlib.Path(sys.prefix).resolve() != PYTHON.parent.parent.resolve():
        os.execv(PYTHON, [str(PYTHON), *sys.argv])


def images(size, batch):
    import torch

    return torch.rand(batch, 1, *map(int, size.split("x")), generator=torch.Generator().manual_seed(1))


def classifier():
    import torch

    sys.path.insert(0, str(ROOT / "reference/scripts"))
    import network

    torch.manual_seed(0)
    return network.Classifier().eval(), network


def export(folder, size):
    """The same weights for everybody: as safetensors, and as ONNX for each batch; and the images for it."""
    import torch
    from safetensors.torch import save_file

    net, network = classifier()
    save_file(network.state_to_save(net), folder / "weights.safetensors")
    for batch in sorted({batch for _, batch, _, _ in WORKS}):
        x, path = images(size, batch), folder / f"batch{batch}.onnx"
        save_file({"input": x}, folder / f"input{batch}.safetensors")
        with open(os.devnull, "w") as silence:
            stdout, sys.stdout = sys.stdout, silence
            torch.onnx.export(net, (x,), path, input_names=["input"], output_names=["logits"], dynamo=True, external_data=False)
            sys.stdout = stdout


def openvino_model(folder, batch, threads):
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.compile_model(openvino.Core().read_model(folder / f"batch{batch}.onnx"), "CPU", settings)
    return (lambda x: model(x)[0]), openvino.__version__.split("-")[0]


def onnxruntime_model(folder, batch, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(folder / f"batch{batch}.onnx", options, providers=["CPUExecutionProvider"])
    return (lambda x: session.run(None, {"input": x})[0]), onnxruntime.__version__


def build_rust(engines):
    """The engines in Rust; in their own folder, for the settings of cargo there."""
    features = ["--features", "candle"] if "candle" in engines else []
    subprocess.run(["cargo", "build", "--release", "--locked", *features], cwd=RUST, check=True)


def rust_turn(engine, part, batch, threads, rounds, folder, *more):
    model = folder / RUST_ENGINES[engine].format(batch)
    command = [RUST / "target/release/osteon-peers", "--engine", engine, "--part", part, "--model", model]
    return json.loads(output_of([*command, "--input", folder / f"input{batch}.safetensors", "--threads", threads, "--rounds", rounds, *more]))


def check(arguments, folder):
    """The largest relative difference of an engine's logits to PyTorch's, from the same weights and images."""
    import torch
    from safetensors.torch import load_file

    x = images(arguments.size, 8)
    with torch.no_grad():
        expected = classifier()[0](x)
    model, given, made = (folder / f"{name}.safetensors" for name in ("model", "input8", "output"))
    names = ["--architecture", "inrac", "--classes", "NoMet,ADMet,nADMet", "--input-size", arguments.size, "--output", model]
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([arguments.osteon, "model", "import", folder / "weights.safetensors", *names], **quiet)
    subprocess.run([arguments.osteon, "audit", "forward", "--model", model, "--input", given, "--output", made, "--force"], **quiet)
    logits = {
        "Osteon": load_file(made)["logits"],
        "OpenVINO": torch.from_numpy(openvino_model(folder, 8, 2)[0](x.numpy())),
        "ONNX Runtime": torch.from_numpy(onnxruntime_model(folder, 8, 2)[0](x.numpy())),
    }
    for engine in arguments.rust:
        rust_turn(engine, "inference", 8, 2, 0, folder, "--output", made)
        logits[engine] = load_file(made)["logits"]
    return {name: ((values - expected).norm() / expected.norm()).item() for name, values in logits.items()}


def peak_bytes():
    """The most memory that this process has had; `getrusage` would count that of the process that started it too."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024


def turn(arguments):
    """One engine's measurements of one work, in a process of their own."""
    batch, folder = arguments.batch, pathlib.Path(arguments.folder)
    if arguments.engine == "PyTorch":
        import torch

        torch.set_num_threads(arguments.threads)
        version = torch.__version__.split("+")[0]
        net = classifier()[0].to(memory_format=torch.channels_last)
        x = images(arguments.size, batch).contiguous(memory_format=torch.channels_last)
        labels, adam = torch.arange(batch) % 3, torch.optim.Adam(net.parameters(), lr=1e-4)

        def work():
            if arguments.part == "inference":
                with torch.no_grad():
                    return net(x)
            adam.zero_grad()
            torch.nn.functional.cross_entropy(net(x), labels).backward()
            adam.step()

        net.train(arguments.part == "training")
    else:
        make = openvino_model if arguments.engine == "OpenVINO" else onnxruntime_model
        model, version = make(folder, batch, arguments.threads)
        given = images(arguments.size, batch).numpy()

        def work():
            model(given)

    work()  # warms up
    times = []
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) / batch)
    return {"seconds": times, "peak_bytes": peak_bytes(), "version": version}


def take_turn(arguments, engine, part, batch, threads, folder):
    common = ["--size", arguments.size, "--batch", batch, "--threads", threads]
    if engine in RUST_ENGINES:
        return rust_turn(engine, part, batch, threads, arguments.rounds, folder)
    if engine != "Osteon":
        command = [sys.executable, __file__, *common, "--rounds", arguments.rounds, "--engine", engine, "--part", part, "--folder", folder]
        return json.loads(output_of(command))
    # `osteon bench` gives the median of its rounds: a round of its own for each figure.
    figures = [json.loads(output_of([arguments.osteon, "bench", "--json", *common, "--rounds", 1, "--only", part])) for _ in range(arguments.rounds)]
    key = {"inference": "forward_seconds_per_image", "training": "training_step_seconds_per_image"}[part]
    return {"seconds": [f[key] for f in figures], "peak_bytes": max(f["peak_memory_bytes"] for f in figures), "version": ""}


def output_of(command):
    return subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE).stdout


def table(arguments, rows, errors, versions):
    """The figures as Markdown."""
    names = EVERYBODY + arguments.rust
    lines = [
        f"26-layer network at {arguments.size}, f32; {', '.join(f'{name} {version}' for name, version in versions.items() if version)}.",
        "Logits against PyTorch's: " + ", ".join(f"{name} {error:.1e}" for name, error in errors.items()) + ".",
        f"Medians of {arguments.turns * arguments.rounds}, everybody in turn; seconds an image. In brackets the fastest and the slowest.",
        "",
        "| work | " + " | ".join(names) + " | ours over the fastest other |",
        "|---" * (len(names) + 2) + "|",
    ]
    for row in rows:
        threads = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
        cells = []
        for name in names:
            times = row["seconds"].get(name)
            cells.append(f"{statistics.median(times):.3f} [{min(times):.3f}, {max(times):.3f}]" if times else "")
        lines.append(f"| {row['part']}, batch {row['batch']}, {threads} | {' | '.join(cells)} | **{row['ratio']:.2f}** of {row['fastest']} |")
    for row in rows:
        cells = [f"{row['peak_bytes'][name] / 2**20:.0f} MB" if name in row["peak_bytes"] else "" for name in names]
        ratio = row["peak_bytes"]["Osteon"] / min(bytes for name, bytes in row["peak_bytes"].items() if name != "Osteon")
        if row["threads"] == 2:
            lines.append(f"| peak memory of {row['part']}, batch {row['batch']} | {' | '.join(cells)} | **{ratio:.2f}** |")
    return "\n".join(lines)


def main():
    arguments = parse()
    if arguments.engine:
        return print(json.dumps(turn(arguments)))
    enter_venv(arguments.venv)
    if not arguments.osteon.exists():
        sys.exit(f"{arguments.osteon} is not there; run `cargo build --release`, or say where it is by --osteon")
    if arguments.rust:
        build_rust(arguments.rust)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        try:
            export(folder, arguments.size)
            errors = check(arguments, folder)
        except ModuleNotFoundError as missing:
            sys.exit(f"{missing}; give --venv to have the other engines installed in an environment of its own")
        if not max(errors.values()) <= MAX_LOGIT_ERROR:
            sys.exit(f"logits differ from PyTorch's by {errors} where {MAX_LOGIT_ERROR:.0e} is allowed: there is nothing to compare")
        rows, versions = [], {}
        for part, batch, threads, engines in WORKS:
            engines = engines + arguments.rust if part == "inference" else engines
            seconds, peaks = {name: [] for name in engines}, {}
            for number in range(arguments.turns):
                for name in engines:
                    print(f"{part}, batch {batch}, {threads} threads, turn {number + 1}: {name}", file=sys.stderr, flush=True)
                    figures = take_turn(arguments, name, part, batch, threads, folder)
                    seconds[name] += figures["seconds"]
                    peaks[name] = max(peaks.get(name, 0), figures["peak_bytes"])
                    versions[name] = figures["version"]
            medians = {name: statistics.median(times) for name, times in seconds.items()}
            fastest = min((name for name in engines if name != "Osteon"), key=medians.get)
            rows.append({
                "part": part, "batch": batch, "threads": threads, "seconds": seconds, "peak_bytes": peaks,
                "fastest": fastest, "ratio": medians["Osteon"] / medians[fastest],
            })
    text = table(arguments, rows, errors, versions)
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps({"size": arguments.size, "logit_errors": errors, "versions": versions, "works": rows}, indent=1))


if __name__ == "__main__":
    main()
