"""How well phantoms could be told apart: by an observer who knows every lesion, and by one who has a picture of a given size.

    .venv/bin/python ceilings.py ../../target/release/osteon --output ../ceilings/simulator1.json
    .venv/bin/python ceilings.py ../../target/release/osteon --simulator 2 --output ../ceilings/simulator2.json
    .venv/bin/python ceilings.py FOLDER --output FILE      # phantoms that are there

../ceilings/README.md says what the figures mean. The observer measures nothing wrongly, so a network can only fall short of him.

A study is described by numbers and classified by logistic regression and by boosted trees; the better one is the ceiling:

* `list`: the true lesions, by region and shape, their uptake and size. Benign findings are left out.
* a size such as `256x64`: the findings that a picture of that size shows, metastases and benign ones in one list, and of each only
  what can be seen: on which part of the body, how large, of which outline, how bright.

The picture is what a network gets: both views added, each pixel the mean of the area that it covers.
"""

import argparse
import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import sklearn
from scipy.sparse.csgraph import connected_components
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

CLASSES = ["NoMet", "ADMet", "nADMet"]
SIZES = [(1024, 256), (512, 128), (256, 64), (192, 48), (128, 32)]
PATIENTS = [100, 200, 400, 800, 1600]
# Shares of NoMet, ADMet and nADMet among training patients and among test studies: phantoms as `osteon phantom` makes them; the
# archive of `osteon reproduce`, with copies until the classes are balanced (D3); the same without copies.
EVEN, ARCHIVE = (1, 1, 1), (614, 237, 160)
MIXES = [(EVEN, EVEN), (ARCHIVE, EVEN), (ARCHIVE, ARCHIVE)]
FIVEFOLD = 1500  # studies; the first ones

# A finding is visible from this contrast over noise: its excess in its pixels over the spread of what those pixels hold without it.
# Rose (JOSA 38, 1948) asks for about 5 where a spot may be anywhere in a noisy picture; 3 is enough for one whose place is known.
# The observer here knows the anatomy, and a ceiling must not be too low.
VISIBLE = 3.0
# Spread of the background: Poisson noise, and this share of it, by which normal bone differs from what is expected. Measured on
# phantoms without findings as the difference between a bone's pixel and its mirror image, without Poisson noise: 0.06 to 0.10 at
# all sizes.
STRUCTURE = 0.08
# Mean of a Gaussian's excess over the pixels that have at least 40 % of its peak, which are the mask: (1 - 0.4) / ln(1 / 0.4).
MEAN_IN_MASK = 0.655
# Two findings are two where their brightest pixels are this many pixels apart: there is a darker pixel between them.
APART_PIXELS = 2.0
# ... and the camera's resolution apart (full width at half maximum at the depth of most bones).
APART_CM = 1.0

warnings.filterwarnings("ignore", category=ConvergenceWarning)


# From the truth to lists of what is seen.


def region(bone):
    """The part of the body on which a bone lies, as a reader would name the place."""
    words = [
        ("ribs", r"\brib\b"),
        ("vertebrae", r"^[CTL]\d"),
        ("pelvis", r"ilium|iliac|pubis|ischium|sacr|acetabul|coccyx"),
        ("skull", r"skull|maxilla|mandible"),
        ("girdle", r"scapula|clavic|stern|manubrium|acromion|coracoid"),
        ("long-bones", r"femur|trochanter|humer"),
    ]
    return next((name for name, pattern in words if re.search(pattern, bone) and "condyle" not in bone), "limbs")


PLACES = ["skull", "vertebrae", "ribs", "girdle", "pelvis", "long-bones", "limbs"]
SHAPES = ["punctate", "patchy", "mottled", "linear", "ring"]
OUTLINES = ["spot", "area", "stripe", "broken"]


class Finding:
    """Where both views together show a finding: pixels of the truth's size, expected excess and background."""

    def __init__(self, truth, entry):
        self.bone = entry["bone"]
        pixels, excess = [], []
        self.background, best = 0.0, 0.0
        for mirrored, name in enumerate(["anterior", "posterior"]):
            view = entry[name]
            turn = (lambda column: truth["columns"] - 1 - column) if mirrored else (lambda column: column)
            self.background += view["background"]
            if view["mask"] and view["excess"] > best:
                best = view["excess"]
                self.peak = np.array([view["row"], turn(view["column"])], float) + 0.5
            for row, column, length in view["mask"]:
                run = np.arange(column, column + length)
                pixels.append(np.stack([np.full(length, row), turn(run)], axis=1))
                excess.append(np.full(length, MEAN_IN_MASK * view["excess"]))
        self.seen = best > 0.0
        if self.seen:
            self.pixels, self.excess = np.concatenate(pixels), np.concatenate(excess)


def visible(truth, findings, size, limit=VISIBLE):
    """What a picture of a size shows: a list of (place, outline, log uptake ratio, log area in cm2)."""
    scale = np.array([size[0] / truth["rows"], size[1] / truth["columns"]])
    area = (truth["pixel_mm"] / 10.0) ** 2 / scale.prod()
    seen = []
    for parts in groups(truth, findings, scale):
        cells = (np.concatenate([part.pixels for part in parts]) * scale).astype(int)
        cells, which = np.unique(cells[:, 0] * size[1] + cells[:, 1], return_inverse=True)
        signal = np.bincount(which, np.concatenate([part.excess for part in parts]))
        background = np.mean([part.background for part in parts]) / scale.prod()
        bright = signal >= 0.4 * signal.max()
        excess, normal = signal[bright].sum(), background * bright.sum()
        if excess < limit * np.sqrt(normal + (STRUCTURE * normal) ** 2):
            continue
        cells = np.stack(np.divmod(cells[bright], size[1]))
        brightest = max(parts, key=lambda part: part.excess.max())
        seen.append((region(brightest.bone), outline(cells), np.log1p(signal.max() / background), np.log(area * cells.shape[1])))
    return seen


def groups(truth, findings, scale):
    """Findings in groups of which each touches the next: what is too near each other is seen as one."""
    findings = [finding for finding in findings if finding.seen]
    if not findings:
        return []
    apart = np.maximum(APART_PIXELS, 10.0 * APART_CM / truth["pixel_mm"] * scale)
    peaks = np.array([finding.peak for finding in findings]) * scale / apart
    near = ((peaks[:, None] - peaks) ** 2).sum(axis=2) < 1.0
    count, which = connected_components(near)
    return [[finding for finding, of in zip(findings, which) if of == group] for group in range(count)]


def outline(cells):
    """Which of OUTLINES the pixels have whose rows and columns are `cells`."""
    count = cells.shape[1]
    if count < 4:
        return "spot"
    # Variances along the longest and the shortest axis; a pixel is a square, and 1/12 is the variance inside it.
    rows, columns = cells - cells.mean(axis=1, keepdims=True)
    a, b, c = (rows @ rows) / count + 1 / 12, (columns @ columns) / count + 1 / 12, (rows @ columns) / count
    middle, half = (a + b) / 2, np.hypot((a - b) / 2, c)
    if middle + half > 6.0 * (middle - half):
        return "stripe"
    # A filled ellipse with these variances has the area 4 pi sqrt(v1 v2).
    return "area" if count > 0.75 * 4.0 * np.pi * np.sqrt(a * b - c * c) else "broken"


def numbers(truth, entries, places, outlines):
    """The numbers that describe a study, from (place, outline, log uptake, log size) of each finding."""
    place = collections.Counter(entry[0] for entry in entries)
    shape = collections.Counter(entry[1] for entry in entries)
    uptake = np.array([entry[2] for entry in entries] or [0.0])
    size = np.array([entry[3] for entry in entries] or [0.0])
    counts = [len(entries), *(place[name] for name in places), *(shape[name] for name in outlines)]
    measures = [f(values) for values in (uptake, size) for f in (np.mean, np.max, np.std)]
    total = np.log1p(np.sum(np.exp(size)) if entries else 0.0)
    return [*np.log1p(counts), *counts, total, *measures, float(not entries), truth["age"], float(truth["sex"] == "M")]


def read(folder, limit=VISIBLE):
    """Labels, and by kind of list the numbers of every study, in the order of their names."""
    files = sorted((folder / "truth").glob("*.json"), key=lambda path: (len(path.name), path.name))
    if not files:
        sys.exit(f"{folder}: no truth/*.json; give the folder that `osteon phantom` wrote")
    labels, table = [], collections.defaultdict(list)
    for file in files:
        truth = json.loads(file.read_text())
        labels.append(CLASSES.index(truth["label"]))
        lesions = truth["lesions"]
        known = [(x["region"], x["shape"], np.log(x["uptake_ratio"]), np.log(x["size_cm"])) for x in lesions]
        table["list"].append(numbers(truth, known, PLACES[:6], SHAPES))
        findings = [Finding(truth, entry) for entry in lesions + truth["benign"]]
        for size in SIZES:
            seen = visible(truth, findings, size, limit)
            table[f"{size[0]}x{size[1]}"].append(numbers(truth, seen, PLACES, OUTLINES))
    return np.array(labels), {kind: np.array(rows) for kind, rows in table.items()}


# Classifiers and scores.


def linear(seed):
    """Multinomial logistic regression on standardised numbers; its penalty is chosen inside the training patients."""
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    model = LogisticRegression(max_iter=300)
    return make_pipeline(StandardScaler(), GridSearchCV(model, {"C": [0.01, 0.1, 1.0]}, cv=folds, scoring="neg_log_loss"))


def trees(seed):
    """Boosted trees, small ones: they show whether a straight boundary is the limit."""
    return make_pipeline(
        HistGradientBoostingClassifier(
            max_iter=60, learning_rate=0.08, max_leaf_nodes=8, min_samples_leaf=8, l2_regularization=1.0, random_state=seed
        )
    )


MODELS = {"logistic regression": linear, "boosted trees": trees}


def tasks(labels):
    """Of each task: the studies that it is about, and their classes."""
    everyone = np.arange(len(labels))
    return {
        "NoMet, ADMet, nADMet": (everyone, labels),
        "NoMet, metastatic": (everyone, (labels > 0).astype(int)),
        "ADMet, nADMet": (everyone[labels > 0], labels - 1),
    }


def weights(labels, mix):
    """A weight for each study, with which the classes have the shares of `mix`; the mean weight is 1."""
    counts = np.bincount(labels, minlength=3)
    share = np.divide(mix, counts, out=np.zeros(3), where=counts > 0)[labels]
    return share / share.mean()


def fit(make, seed, x, y, weight):
    model = make(seed)
    return model.fit(x, y, **{model.steps[-1][0] + "__sample_weight": weight})


def scored(truth, probabilities, weight):
    """Accuracy and the AUC; of three classes the mean of the AUCs of each against the rest."""
    accuracy = accuracy_score(truth, probabilities.argmax(axis=1), sample_weight=weight)
    columns = range(probabilities.shape[1]) if probabilities.shape[1] > 2 else [1]
    return np.array([accuracy, np.mean([roc_auc_score(truth == c, probabilities[:, c], sample_weight=weight) for c in columns])])


def fivefold(x, y, make):
    """Every study is tested once, by a model that four fifths of the others trained."""
    probabilities = np.zeros((len(y), y.max() + 1))
    weight = np.ones(len(y))
    for train, test in StratifiedKFold(5, shuffle=True, random_state=1).split(x, y):
        probabilities[test] = fit(make, 1, x[train], y[train], weight[train]).predict_proba(x[test])
    return scored(y, probabilities, weight)


def draw(labels, pool, mix, count, random):
    """`count` studies of the pool with the classes in the shares of `mix`."""
    wanted = np.diff(np.round(count * np.cumsum(mix) / np.sum(mix)).astype(int), prepend=0)
    return np.concatenate([random.choice(pool[labels[pool] == c], wanted[c], replace=False) for c in range(3)])


def better(results):
    """The scores of the model with the higher accuracy, and which one it is."""
    best = max(results, key=lambda name: results[name][0])
    accuracy, auc = results[best]
    return {"accuracy": round(float(accuracy), 3), "auc": round(float(auc), 3), "by": best}


# How often other patients are drawn: less often where a training set is large, whose score varies little.
REPEATS = {100: 6, 200: 4, 400: 3, 800: 2, 1600: 1}


def learning(labels, x, mixes, patients, chosen, classes):
    """Scores of models trained on so many patients and tested on the first studies, which no model saw."""
    rest, test = np.arange(FIVEFOLD, len(labels)), np.intersect1d(np.arange(FIVEFOLD), chosen)
    results = {}
    for name, make in MODELS.items():
        pairs = []
        for repeat in range(REPEATS[patients]):
            train = draw(labels, rest, mixes[0], patients, np.random.default_rng([patients, repeat]))
            train = np.intersect1d(train, chosen)
            model = fit(make, repeat, x[train], classes[train], weights(labels[train], mixes[1]))
            pairs.append(scored(classes[test], model.predict_proba(x[test]), weights(labels[test], mixes[1])))
        results[name] = np.mean(pairs, axis=0)
    return better(results)


def measure(labels, table):
    """All figures: of five folds of the first studies, and by the number of training patients."""
    folds, curves = [], []
    for kind, x in table.items():
        line = []
        for task, (chosen, classes) in tasks(labels).items():
            first = chosen[chosen < FIVEFOLD]
            best = better({name: fivefold(x[first], classes[first], make) for name, make in MODELS.items()})
            folds.append({"seen": kind, "task": task, **best})
            line.append(f"{task} {best['accuracy']:.3f} (AUC {best['auc']:.3f})")
            for mixes in MIXES:
                trained, tested = (":".join(map(str, mix)) for mix in mixes)
                for patients in PATIENTS:
                    best = learning(labels, x, mixes, patients, chosen, classes)
                    about = {"seen": kind, "task": task, "trained_on": trained, "tested_on": tested, "patients": patients}
                    curves.append({**about, **best})
        print(f"{kind}, five-fold: {'; '.join(line)} [{time.process_time():.0f} s]", flush=True)
    return folds, curves


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=pathlib.Path, help="the program osteon, or a folder that `osteon phantom` wrote")
    parser.add_argument("--studies", type=int, default=4500, help="studies to simulate; the first 1500 test, the others train")
    parser.add_argument("--seed", type=int, default=77, help="of the studies to simulate")
    parser.add_argument("--simulator", type=int, help="version of the simulator; without it, 1 is written down")
    parser.add_argument("--limit", type=float, default=VISIBLE, help="contrast over noise from which a finding is visible")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="JSON file")
    options = parser.parse_args()

    if options.source.is_dir():
        labels, table = read(options.source, options.limit)
    else:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder) / "phantoms"
            command = [options.source, "phantom", "--studies", str(options.studies), "--seed", str(options.seed)]
            command += ["--output", folder]
            command += ["--simulator", str(options.simulator)] if options.simulator else []
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            labels, table = read(folder, options.limit)
    for mixes in MIXES:
        wanted = np.ceil(max(PATIENTS) * np.array(mixes[0]) / sum(mixes[0]))
        if (np.bincount(labels[FIVEFOLD:], minlength=3) < wanted).any():
            sys.exit(f"{len(labels)} studies are too few to train on {max(PATIENTS)} beside the {FIVEFOLD} of the test; make 4500")
    folds, curves = measure(labels, table)
    about = {"simulator": options.simulator or 1, "studies": len(labels), "visible_from": options.limit}
    about["scikit_learn"] = sklearn.__version__
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in about.items()]
    for key, figures in [("five_fold", folds), ("figures", curves)]:
        lines.append(f" {json.dumps(key)}: [\n" + ",\n".join(f"  {json.dumps(figure)}" for figure in figures) + "\n ]")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
