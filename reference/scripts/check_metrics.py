"""Osteon's metrics against scikit-learn, SciPy and statsmodels on the same predictions.

    .venv/bin/python check_metrics.py            # compares ../goldens/metrics.json with what this machine computes
    .venv/bin/python check_metrics.py --write    # writes it again
    .venv/bin/python check_metrics.py FOLDER...  # compares each folder's scores.json with its patients.csv, which `osteon evaluate` wrote

`cargo test --test goldens metrics` compares Osteon with the file. Resamples are Osteon's own (a formula of seed, number and patient,
spelled out in `draw`); everything on them is scikit-learn's, on rows repeated as often as their patient was drawn.
"""

import csv
import json
import pathlib
import platform
import sys
import warnings

import numpy as np
import scipy
import sklearn
import statsmodels
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    recall_score,
    roc_auc_score,
    roc_curve,
)
from statsmodels.stats.contingency_tables import mcnemar

warnings.filterwarnings("ignore")  # of what is undefined, which is None here

FILE = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "metrics.json"
BINS = 10
TARGETS = [0.80, 0.90, 0.95]
MASK = (1 << 64) - 1
SCORES = ["precision", "recall", "specificity", "f1", "auc"]


# Resamples, as src/metrics/bootstrap.rs draws them.


def mix(state):
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def draw(seed, resample, patients):
    """How often each patient stands in a resample."""
    times = [0] * patients
    state = mix((mix(seed ^ int.from_bytes(b"resample", "little")) + resample) & MASK)
    for _ in range(patients):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        times[(mix(state) * patients) >> 64] += 1
    return times


# Predictions: patients (numbers in the order of their first study), truths, and probabilities in float32.


class Predictions:
    def __init__(self, classes, patients, truths, probabilities):
        self.classes = classes
        numbers = {}
        self.patients = np.array([numbers.setdefault(patient, len(numbers)) for patient in patients], dtype=int)
        self.names = list(patients)
        self.truths = np.array(truths, dtype=int)
        self.p = np.array(probabilities, dtype=np.float32).reshape(len(self.truths), len(classes))
        self.negative = next((i for i, name in enumerate(classes) if name.lower() == "nomet"), None)

    def metastatic(self):
        """Probabilities of any metastasis, as the other classes' share; None where the classes do not merge."""
        if self.negative is None or len(self.classes) < 2:
            return None
        p = self.p.astype(np.float64)
        others = sum(p[:, c] for c in range(len(self.classes)) if c != self.negative)
        total = sum(p[:, c] for c in range(len(self.classes)))
        return np.where(total > 0, others / np.where(total > 0, total, 1), 0.5)


def number(value):
    """None of NaN."""
    return None if value is None or not np.isfinite(value) else float(value)


def against_rest(y, called, p):
    """Precision, recall, specificity, F1 and AUC of the positive side; NaN where undefined."""
    precision, recall, f1, _ = precision_recall_fscore_support(y, called, labels=[1], average=None, zero_division=np.nan)
    precision, recall, f1 = precision[0], recall[0], f1[0]
    if np.isnan(precision) and y.any():
        precision = 0.0  # a class that is there and never called
    specificity = recall_score(1 - y, 1 - called, zero_division=np.nan)
    auc = roc_auc_score(y, p) if 0 < y.sum() < len(y) else np.nan
    return [precision, recall, specificity, f1, auc]


def measure(data, rows, defined=None):
    """accuracy, macro means, classes, metastatic: in the order of Panel::values. `defined`: the classes each mean is over."""
    truths, p = data.truths[rows], data.p[rows]
    merged = data.metastatic()
    count = 1 + 5 + 5 * len(data.classes) + (6 if merged is not None else 0)
    if len(truths) == 0:
        return [np.nan] * count
    called = p.argmax(axis=1)  # the first of equals
    classes = [
        against_rest((truths == c).astype(int), (called == c).astype(int), p[:, c].astype(np.float64))
        for c in range(len(data.classes))
    ]
    table = np.array(classes)
    if defined is None:
        defined = ~np.isnan(table)
    means = [table[defined[:, s], s].mean() if defined[:, s].any() else np.nan for s in range(5)]
    values = [accuracy_score(truths, called), *means, *[value for row in classes for value in row]]
    if merged is not None:
        y, ranked = (truths != data.negative).astype(int), merged[rows]
        decided = (ranked > 0.5).astype(int)
        values += [accuracy_score(y, decided), *against_rest(y, decided, ranked)]
    return values


def defined_classes(data):
    values = measure(data, np.arange(len(data.truths)))
    return ~np.isnan(np.array(values[6 : 6 + 5 * len(data.classes)]).reshape(-1, 5))


def resampled(data, resamples, seed):
    """A row a resample."""
    defined = defined_classes(data)
    patients = len(set(data.names))
    rows = []
    for resample in range(resamples):
        times = np.array(draw(seed, resample, patients), dtype=int)
        rows.append(measure(data, np.repeat(np.arange(len(data.truths)), times[data.patients]), defined))
    return np.array(rows)


def intervals(values, rows):
    """Percentiles; None where more than 5 % of the resamples are undefined, or nothing changes."""
    ends = []
    for value, column in zip(values, rows.T):
        finite = column[~np.isnan(column)]
        if np.isnan(value) or len(column) - len(finite) > 0.05 * len(column) + 1e-9:
            ends.append(None)
            continue
        low, high = np.quantile(finite, [0.025, 0.975])
        ends.append([float(low), float(high)] if high - low > 1e-12 else None)
    return ends


def calibration(y, p):
    if len(y) == 0:
        return None
    observed, predicted = calibration_curve(y, p, n_bins=BINS)
    counts = np.histogram(np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], p), bins=np.arange(BINS + 1))[0]
    counts = counts[counts > 0]
    gaps = np.abs(observed - predicted)
    return {
        "expected": float((counts * gaps).sum() / len(y)),
        "maximum": float(gaps.max()),
        "bins": [
            {"count": int(n), "predicted": float(q), "observed": float(o)} for n, q, o in zip(counts, predicted, observed)
        ],
    }


def operating_points(y, p):
    """From roc_curve: at a sensitivity the highest threshold that reaches it, at a specificity the lowest."""
    if len(y) == 0 or y.min() == y.max():
        return None
    fpr, tpr, thresholds = roc_curve(y, p, drop_intermediate=False)

    def point(target, threshold):
        called = (p >= threshold).astype(int)
        (tn, fp), (fn, tp) = confusion_matrix(y, called, labels=[0, 1])
        return {
            "target": target,
            "threshold": number(threshold),
            "sensitivity": float(tp / (tp + fn)),
            "specificity": float(tn / (tn + fp)),
            "ppv": float(tp / (tp + fp)) if tp + fp else None,
            "npv": float(tn / (tn + fn)) if tn + fn else None,
        }

    return {
        "sensitivity": [point(t, thresholds[np.argmax(tpr >= t - 1e-9)]) for t in TARGETS],
        "specificity": [point(t, thresholds[np.flatnonzero(1 - fpr >= t - 1e-9)[-1]]) for t in TARGETS],
    }


def everything(data, resamples, seed):
    everyone = np.arange(len(data.truths))
    values = measure(data, everyone)
    called = data.p.argmax(axis=1) if len(data.truths) else everyone
    least = np.finfo(np.float32).eps
    # A class that nobody is of must still be a column.
    labels = list(range(len(data.classes)))
    result = {
        "values": [number(value) for value in values],
        "intervals": intervals(values, resampled(data, resamples, seed)),
        "log_loss": None,
        "top_label": calibration(
            (called == data.truths).astype(int), data.p.max(axis=1).astype(np.float64) if len(data.truths) else everyone
        ),
        "classes": [],
        "metastatic": None,
        "operating_points": None,
    }
    if len(data.truths):
        # scikit-learn clips to the resolution of the type that it is given: float32's, in float64.
        clipped = np.clip(data.p, least, 1 - least).astype(np.float64)
        result["log_loss"] = float(log_loss(data.truths, clipped, labels=labels))
    for c in labels:
        y, p = (data.truths == c).astype(int), data.p[:, c].astype(np.float64)
        brier = float(brier_score_loss(y, p, labels=[0, 1], pos_label=1)) if len(y) else None
        result["classes"].append({"calibration": calibration(y, p), "brier": brier})
    ranked = data.metastatic()
    if ranked is not None:
        y = (data.truths != data.negative).astype(int)
        brier = float(brier_score_loss(y, ranked, labels=[0, 1], pos_label=1)) if len(y) else None
        result["metastatic"] = {"calibration": calibration(y, ranked), "brier": brier}
        result["operating_points"] = operating_points(y, ranked)
    return result


def compared(a, b, resamples, seed):
    """Paired bootstrap of every difference, and McNemar's test of right and wrong."""
    everyone = np.arange(len(a.truths))
    values = np.array(measure(a, everyone)) - np.array(measure(b, everyone))
    rows = resampled(a, resamples, seed) - resampled(b, resamples, seed)
    p_values = []
    for value, column in zip(values, rows.T):
        finite = column[~np.isnan(column)]
        if np.isnan(value) or len(column) - len(finite) > 0.05 * len(column) + 1e-9:
            p_values.append(None)
            continue
        # Differences of equal scores are 0 up to the last bits of a mean.
        finite = np.where(np.abs(finite) < 1e-12, 0, finite)
        rarer = min((finite <= 0).sum(), (finite >= 0).sum())
        p_values.append(float(min(1, 2 * (1 + rarer) / (1 + len(finite)))))
    right_a, right_b = (side.p.argmax(axis=1) == side.truths for side in (a, b))
    table = [[int((right_a & right_b).sum()), int((right_a & ~right_b).sum())],
             [int((~right_a & right_b).sum()), int((~right_a & ~right_b).sum())]]
    return {
        "differences": [number(value) for value in values],
        "intervals": intervals(values, rows),
        "p": p_values,
        "mcnemar": test_of(table[0][1], table[1][0]),
        "table": table,
    }


def test_of(only_a, only_b):
    """McNemar's test: exact below 25 discordant pairs, else chi-square with continuity correction."""
    discordant = only_a + only_b
    if discordant < 25:
        return {"statistic": None, "p": float(binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0}
    result = mcnemar([[0, only_a], [only_b, 0]], exact=False, correction=True)
    return {"statistic": float(result.statistic), "p": float(result.pvalue)}


# Cases. Probabilities are small whole numbers over their sum, so that ties are many and every machine divides to the same float32.


def shares(weights):
    weights = np.asarray(weights, dtype=np.float32)
    return weights / weights.sum(axis=1, keepdims=True, dtype=np.float32)


THREE = ["NoMet", "ADMet", "nADMet"]


def invented(seed, studies, patients, classes=THREE, top=64, hint=24, present=None, truths=None):
    random = np.random.default_rng(seed)
    of_patient = random.integers(0, present or len(classes), patients)
    patient = random.integers(0, patients, studies)
    truths = of_patient[patient] if truths is None else truths
    weights = random.integers(0, top, (studies, len(classes)))
    weights[np.arange(studies), truths] += hint
    weights[weights.sum(axis=1) == 0] = 1
    return Predictions(classes, [f"p{number}" for number in patient], truths, shares(weights))


def cases():
    plain = invented(1, 40, 30)
    ties = invented(2, 60, 40, top=4, hint=1)
    missing = invented(3, 50, 40, present=2)
    rare = invented(4, 40, 36)
    rare.truths[rare.truths == 2] = 1
    rare.truths[7] = 2
    never = invented(5, 40, 40)
    never.p[:, 2] = 0
    never.p = shares(never.p + np.array([1, 1, 0], dtype=np.float32))
    one_class = invented(6, 20, 20, present=1)
    sure = invented(7, 50, 50)
    sure.p = np.eye(3, dtype=np.float32)[np.where(np.arange(50) % 4 == 0, (sure.truths + 1) % 3, sure.truths)]
    edges = invented(8, 80, 60, classes=["NoMet", "Met"])
    tenths = np.random.default_rng(9).integers(0, 11, 80).astype(np.float32)
    edges.p = np.stack([tenths / np.float32(10), (10 - tenths) / np.float32(10)], axis=1)
    other = invented(10, 40, 40, classes=["a", "b", "c", "d"])
    large = invented(11, 1000, 400, hint=30)
    return {
        "plain": plain,
        "ties": ties,
        "a_class_is_missing": missing,
        "a_class_of_one_study": rare,
        "a_class_is_never_predicted": never,
        "one_class_alone": one_class,
        "sure_and_sometimes_wrong": sure,
        "tenths_of_two_classes": edges,
        "classes_that_do_not_merge": other,
        "large": large,
    }


RESAMPLES = 120
SEED = 3


def golden():
    named = cases()
    written = {}
    for name, data in named.items():
        studies = [
            [patient, int(truth), *[float(str(p)) for p in row]] for patient, truth, row in zip(data.names, data.truths, data.p)
        ]
        # What the text says is what both sides take.
        data.p = np.array([study[2:] for study in studies], dtype=np.float32)
        written[name] = {"classes": data.classes, "studies": studies, "expected": everything(data, RESAMPLES, SEED)}
    # The second network of the comparison: the large case's studies, other probabilities.
    large = named["large"]
    other = invented(12, 1000, 400, hint=24, truths=large.truths)
    probabilities = [[float(str(p)) for p in row] for row in other.p]
    other = Predictions(large.classes, large.names, large.truths, probabilities)
    counts = [(0, 0), (0, 1), (1, 0), (2, 8), (5, 5), (12, 12), (3, 21), (0, 24), (13, 12), (10, 20), (20, 30), (100, 60), (400, 250)]
    return {
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "scipy": scipy.__version__,
            "statsmodels": statsmodels.__version__,
        },
        "resamples": RESAMPLES,
        "seed": SEED,
        "draws": [draw(SEED, resample, 12) for resample in range(5)],
        "cases": written,
        "comparison": {
            "a": "large",
            "b": probabilities,
            "expected": compared(large, other, RESAMPLES, SEED),
        },
        "mcnemar": [{"only_a": a, "only_b": b, **test_of(a, b)} for a, b in counts],
    }


def differences(ours, theirs, place=""):
    """Where two JSON values differ by more than 1e-9."""
    if isinstance(theirs, dict):
        keys = theirs.keys() | (ours.keys() if isinstance(ours, dict) else set())
        if not isinstance(ours, dict):
            return [f"{place}: {ours} beside an object"]
        return [line for key in sorted(keys) for line in differences(ours.get(key), theirs.get(key), f"{place}/{key}")]
    if isinstance(theirs, list):
        if not isinstance(ours, list) or len(ours) != len(theirs):
            return [f"{place}: {ours} beside {theirs}"]
        return [line for i, pair in enumerate(zip(ours, theirs)) for line in differences(*pair, f"{place}/{i}")]
    if isinstance(theirs, float) and isinstance(ours, (int, float)):
        return [] if abs(ours - theirs) <= 1e-9 * max(1.0, abs(theirs)) else [f"{place}: {ours} beside {theirs}"]
    return [] if ours == theirs else [f"{place}: {ours} beside {theirs}"]


def dump(value, depth=0):
    """JSON with a line a study or interval, so that a change can be seen."""
    if isinstance(value, dict) and depth < 4:
        inner = ",\n".join(f"{' ' * (depth + 1)}{json.dumps(key)}: {dump(item, depth + 1)}" for key, item in value.items())
        return "{\n" + inner + "\n" + " " * depth + "}"
    if isinstance(value, list) and value and isinstance(value[0], (list, dict)) and depth < 4:
        return "[\n" + ",\n".join(" " * (depth + 1) + json.dumps(item) for item in value) + "\n" + " " * depth + "]"
    return json.dumps(value)


def check_folder(folder):
    """scores.json against patients.csv, as `osteon evaluate` wrote both."""
    folder = pathlib.Path(folder)
    with open(folder / "patients.csv", newline="") as file:
        rows = list(csv.reader(file))
    classes = [head[2:-1] for head in rows[0] if head.startswith("p(")]
    first = rows[0].index(f"p({classes[0]})")
    column = {name: rows[0].index(name) for name in ("patient", "truth")}
    data = Predictions(
        classes,
        [row[column["patient"]] for row in rows[1:]],
        [classes.index(row[column["truth"]]) for row in rows[1:]],
        [[np.float32(p) for p in row[first : first + len(classes)]] for row in rows[1:]],
    )
    scores = json.loads((folder / "scores.json").read_text())
    intervals = scores["intervals"]
    theirs = everything(data, intervals["resamples"], intervals["seed"])

    def panel(of):
        values = [of["accuracy"], *[of["macro"][s] for s in SCORES], *[c[s] for c in of["classes"] for s in SCORES]]
        return values + ([of["metastatic"]["accuracy"], *[of["metastatic"][s] for s in SCORES]] if of["metastatic"] else [])

    calibrated = scores["calibration"]
    error = lambda of: of and {key: of.get(key) for key in ("expected", "maximum", "bins")}
    ours = {
        "values": panel(scores),
        "intervals": panel(intervals),
        "log_loss": calibrated["log_loss"],
        "top_label": error(calibrated["top_label"]),
        "classes": [{"calibration": error(c), "brier": c["brier"]} for c in calibrated["classes"]],
        "metastatic": scores["metastatic"]
        and {"calibration": error(calibrated["metastatic"]), "brier": scores["metastatic"]["brier"]},
        "operating_points": scores["operating_points"],
    }
    found = differences(ours, theirs)
    count = sum(value is not None for value in theirs["values"] + theirs["intervals"])
    print(f"{folder}: {len(data.truths)} studies, {count} scores and intervals, {len(found)} apart from scikit-learn's")
    return found


def main():
    arguments = sys.argv[1:]
    if arguments and arguments != ["--write"]:
        found = [line for folder in arguments for line in check_folder(folder)]
        print("\n".join(found[:20]))
        sys.exit(bool(found))
    computed = golden()
    if arguments:
        FILE.write_text(dump(computed) + "\n")
        print(f"{FILE.name}: {len(computed['cases'])} cases")
        return
    kept = json.loads(FILE.read_text())
    found = differences({**computed, "versions": None}, {**kept, "versions": None})
    print("\n".join(found[:20]) or f"{FILE.name} is what this machine computes")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
