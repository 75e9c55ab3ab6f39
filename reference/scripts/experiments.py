"""Scores that stand in the README and in benches/MEASURED.md: measured, kept in ../results, and held against what the README says.

    python3 experiments.py scores OSTEON WORK          # seeds 1, 2, 3 of every score, written to ../results/scores.json
    python3 experiments.py check OSTEON WORK           # the same measured again and compared with ../results/scores.json and the README
    python3 experiments.py learning OSTEON WORK        # inRAC over 100 to 1600 training patients: ../results/learning.json
    python3 experiments.py init OSTEON WORK            # 50 to 300 patients of another hospital, from phantoms' weights and from none
    python3 experiments.py picture OUTPUT.png          # the learning curve of ../results/learning.json (needs matplotlib)

OSTEON is the program, WORK a folder for phantoms and runs; what is there already is not made again, so an interrupted measurement goes
on. `--seeds 1,2,3`, `--patients 100,200`, `--only NAME` do a part. Needs Python alone, but for the picture.
"""

import argparse
import csv
import json
import math
import pathlib
import statistics
import subprocess
import sys
import time

RESULTS = pathlib.Path(__file__).resolve().parent.parent / "results"
README = RESULTS.parent.parent / "README.md"
SIZE = "256x64"


class Work:
    """The program, and the folder of what it makes."""

    def __init__(self, program, folder):
        self.program = pathlib.Path(program).resolve()
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def run(self, *arguments):
        command = [str(self.program), *map(str, arguments)]
        print("$ osteon", *command[1:], flush=True)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{done.stderr[-2000:]}\nexit code {done.returncode}")
        return done.stdout

    def phantoms(self, studies, seed, *more):
        folder = self.folder / "-".join(["phantoms", str(studies), str(seed), *(part.strip("-") for part in map(str, more))])
        if not (folder / "manifest.csv").exists():
            self.run("phantom", "--studies", studies, "--seed", seed, "--output", folder, *more)
        return folder / "manifest.csv"

    def train(self, manifest, name, *more):
        """Trains and evaluates; the scores as `osteon evaluate` writes them."""
        run = self.folder / name
        if not (run / "scores.json").exists():
            # A finished run that was not evaluated is left as it is; an interrupted one goes on.
            resume = ["--resume", "--allow-other-isa"] if (run / "checkpoint").exists() else ["--force"]
            settings = [] if "--resume" in resume else more
            self.run("train", manifest, "--output", run, "--trust-scans", *resume, *settings)
            self.run("evaluate", run, "--force")
        return json.loads((run / "scores.json").read_text())


def with_sides(manifest, name, train, test):
    """A manifest beside `manifest` whose first `train` studies train and whose last `test` studies test."""
    rows = list(csv.reader(manifest.open()))
    header, rows = rows[0] + ["side"], rows[1:]
    assert train + test <= len(rows)
    chosen = [row + ["train"] for row in rows[:train]] + [row + ["test"] for row in rows[-test:]]
    path = manifest.parent / f"{name}.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *chosen])
    return path


def short(scores):
    """What is kept of an evaluation: three classes, and metastatic or not."""
    panel = {"accuracy": scores["accuracy"], "auc": scores["macro"]["auc"]}
    if scores.get("metastatic"):
        panel["two_classes"] = scores["metastatic"]["accuracy"]
        panel["two_classes_auc"] = scores["metastatic"]["auc"]
    calibration = scores.get("calibration", {})
    if calibration.get("top_label"):
        panel["ece"] = calibration["top_label"]["expected"]
        panel["ece_by_chance"] = calibration["by_chance"]
    ceiling = scores.get("ceiling")
    if ceiling:
        panel["ceiling"] = ceiling["accuracy"]
    return {key: round(value, 6) for key, value in panel.items()}


def mean(panels, key):
    values = [panel[key] for panel in panels if panel.get(key) is not None]
    return round(statistics.mean(values), 6) if values else None


def spread(panels, key):
    values = [panel[key] for panel in panels if panel.get(key) is not None]
    return round(statistics.stdev(values), 6) if len(values) > 1 else None


def summary(panels):
    keys = sorted({key for panel in panels for key in panel})
    return {"seeds": panels, "mean": {key: mean(panels, key) for key in keys}, "sd": {key: spread(panels, key) for key in keys}}


def demo(work, seed, simulator):
    folder = work.folder / f"demo-{simulator}-{seed}"
    seconds = work.folder / f"demo-{simulator}-{seed}.seconds"
    if not (folder / "scores.json").exists():
        start = time.monotonic()
        work.run("demo", "--seed", seed, "--simulator", simulator, "--output", folder, "--force")
        seconds.write_text(f"{time.monotonic() - start:.0f}")
    panel = short(json.loads((folder / "scores.json").read_text()))
    return panel | ({"seconds": int(seconds.read_text())} if seconds.exists() else {})


def thousand(work, seed, simulator):
    manifest = work.phantoms(1000, 7, "--simulator", simulator)
    settings = ["--input-size", SIZE, "--seed", seed]
    return short(work.train(manifest, f"thousand-{simulator}-{seed}", *settings))


# Every score of phantoms that the README shows, beside the study, which has a page of its own.
SCORES = {
    "demo, simulator 1": lambda work, seed: demo(work, seed, 1),
    "demo, simulator 2": lambda work, seed: demo(work, seed, 2),
    "1000 phantoms, simulator 1": lambda work, seed: thousand(work, seed, 1),
    "1000 phantoms, simulator 2": lambda work, seed: thousand(work, seed, 2),
}


def scores(work, options):
    path = RESULTS / "scores.json"
    there = json.loads(path.read_text()) if path.exists() else {}
    for name, measure in SCORES.items():
        if options.only in (None, name):
            there[name] = summary([measure(work, seed) for seed in options.seeds])
            print(name, there[name]["mean"])
            path.write_text(json.dumps(there, indent=1) + "\n")


def check(work, options):
    """The same program gives the same scores bit for bit; another build or instruction set may move a study across a threshold."""
    there = json.loads((RESULTS / "scores.json").read_text())
    readme = README.read_text()
    wrong = []
    for name, kept in there.items():
        if options.only not in (None, name):
            continue
        for key in ("accuracy", "two_classes"):
            if kept["mean"].get(key) is not None and f"{kept['mean'][key]:.3f}" not in readme:
                wrong.append(f"{name}: the README does not say {key} {kept['mean'][key]:.3f}")
        panels = [SCORES[name](work, seed) for seed in options.seeds]
        for key in ("accuracy", "two_classes"):
            now, then, sd = mean(panels, key), kept["mean"].get(key), kept["sd"].get(key) or 0.0
            # Two means of n seeds differ by less than this in 99 of 100 cases.
            allowed = 2.6 * sd * math.sqrt(2 / len(panels)) + 0.005
            if then is not None and abs(now - then) > allowed:
                wrong.append(f"{name}: {key} {now:.4f} now and {then:.4f} kept, which is more than seeds explain ({allowed:.4f})")
            else:
                print(f"{name}: {key} {now} now, {then} kept")
    sys.exit("\n".join(wrong)) if wrong else print(f"{len(there)} scores are as the README says")


def learning(work, options):
    path = RESULTS / f"learning{options.simulator}.json"
    there = json.loads(path.read_text()) if path.exists() else {}
    manifest = work.phantoms(2200, 11, "--simulator", options.simulator)
    for patients in options.patients or [100, 200, 400, 800, 1600]:
        sides = with_sides(manifest, f"first-{patients}", patients, 600)
        run = lambda seed: work.train(sides, f"learning-{options.simulator}-{patients}-{seed}", "--input-size", SIZE, "--seed", seed)
        there[str(patients)] = summary([short(run(seed)) for seed in options.seeds])
        print(patients, there[str(patients)]["mean"])
        path.write_text(json.dumps(there, indent=1) + "\n")


def init(work, options):
    """Another hospital: the second of simulator 2, whose camera has a tenth of the counts. The weights are of 600 phantoms of the first."""
    path = RESULTS / "init.json"
    there = json.loads(path.read_text()) if path.exists() else {}
    own = work.phantoms(600, 21, "--hospital", 1)
    elsewhere = work.phantoms(700, 22, "--hospital", 2)
    work.train(own, "init-source", "--input-size", SIZE)
    for patients in options.patients or [50, 100, 200, 300]:
        sides = with_sides(elsewhere, f"first-{patients}", patients, 400)
        for name, more in [("none", []), ("phantoms", ["--init", work.folder / "init-source"])]:
            run = lambda seed: work.train(sides, f"init-{name}-{patients}-{seed}", "--input-size", SIZE, "--seed", seed, *more)
            there[f"{patients}, {name}"] = summary([short(run(seed)) for seed in options.seeds])
            print(patients, name, there[f"{patients}, {name}"]["mean"])
            path.write_text(json.dumps(there, indent=1) + "\n")
    # How well the phantoms' model does without having seen any patient of the other hospital.
    sides = with_sides(elsewhere, "first-50", 50, 400)
    output = work.folder / "init-unseen"
    if not (output / "scores.json").exists():
        work.run("evaluate", work.folder / "init-source", "--manifest", sides, "--split", "all", "--output", output)
    there["0, phantoms"] = summary([short(json.loads((output / "scores.json").read_text()))])
    path.write_text(json.dumps(there, indent=1) + "\n")


def picture(output):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 3.6), dpi=130)
    for simulator, colour in [(1, "#1f6f8b"), (2, "#c8553d")]:
        path = RESULTS / f"learning{simulator}.json"
        if not path.exists():
            continue
        there = {int(patients): of for patients, of in json.loads(path.read_text()).items()}
        patients = sorted(there)
        values = [there[number]["mean"]["accuracy"] for number in patients]
        seeds = [[panel["accuracy"] for panel in there[number]["seeds"]] for number in patients]
        axes.plot(patients, values, "o-", color=colour, label=f"inRAC, simulator {simulator}")
        for number, each in zip(patients, seeds):
            axes.plot([number] * len(each), each, ".", color=colour, alpha=0.5)
        ceilings = json.loads((RESULTS.parent / "ceilings" / f"simulator{simulator}.json").read_text())["figures"]
        meant = {"seen": SIZE, "task": "NoMet, ADMet, nADMet", "trained_on": "1:1:1", "tested_on": "1:1:1"}
        ceilings = {of["patients"]: of["accuracy"] for of in ceilings if all(of[key] == value for key, value in meant.items())}
        axes.plot(patients, [ceilings[number] for number in patients], "--", color=colour, label=f"at most, simulator {simulator}")
    axes.axhline(1 / 3, color="#888888", linewidth=1)
    axes.text(100, 1 / 3 + 0.01, "chance", color="#666666", fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks([100, 200, 400, 800, 1600], ["100", "200", "400", "800", "1600"])
    axes.minorticks_off()
    axes.set(xlabel="training patients (phantoms)", ylabel="accuracy, three classes", ylim=(0.3, 0.95))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center right")
    figure.tight_layout()
    figure.savefig(output)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["scores", "check", "learning", "init", "picture"])
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--patients", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--simulator", type=int, choices=[1, 2], default=1)
    parser.add_argument("--only")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    if options.task == "picture":
        return picture(options.paths[0])
    {"scores": scores, "check": check, "learning": learning, "init": init}[options.task](Work(*options.paths), options)


if __name__ == "__main__":
    main()
