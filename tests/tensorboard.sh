#!/usr/bin/env bash
# TensorBoard reads what a run writes for it: a tiny run is trained, and TensorBoard's own reader must list its scalars, with the values of
# metrics.csv. Needs Python 3 with venv, and the network for TensorBoard itself, which goes into a temporary folder.
#
#   tests/tensorboard.sh          needs target/release/osteon, or another program in $OSTEON
set -euo pipefail
osteon=${OSTEON:-$(dirname "$0")/../target/release/osteon}
source "$(dirname "$0")/scratch.sh"

python3 -m venv "$folder/venv" || fail "python3 cannot make a virtual environment"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorboard 'setuptools<81' >"$folder/log" 2>&1 ||
    fail "TensorBoard cannot be installed: $(cat "$folder/log")"
"$osteon" phantom --studies 24 --seed 3 --output "$folder/phantoms" >"$folder/log" 2>&1 || fail "$(cat "$folder/log")"
"$osteon" train "$folder/phantoms/manifest.csv" --input-size 64x32 --batch 8 --epochs 3 --test-every 2 --validation-share 0.3 \
    --output "$folder/run" >"$folder/log" 2>&1 || fail "$(cat "$folder/log")"
"$folder/venv/bin/python" - "$folder/run" <<'PYTHON'
import csv
import math
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run = sys.argv[1]
events = EventAccumulator(run)
events.Reload()
with open(f"{run}/metrics.csv", newline="") as file:
    rows = list(csv.DictReader(file))
assert len(rows) == 3, rows
columns = {
    "loss/train": "train_loss",
    "loss/validation": "validation_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/validation": "validation_accuracy",
    "auc/validation": "validation_auc",
    "learning_rate": "learning_rate",
    "gradient_norm": "gradient_norm",
}
assert sorted(events.Tags()["scalars"]) == sorted(columns), events.Tags()
for tag, column in columns.items():
    found = [(event.step, event.value) for event in events.Scalars(tag)]
    expected = [(int(row["epoch"]), float(row[column])) for row in rows if row[column]]
    assert [step for step, _ in found] == [step for step, _ in expected], (tag, found, expected)
    for (_, value), (_, wanted) in zip(found, expected):
        assert math.isclose(value, wanted, rel_tol=1e-6), (tag, found, expected)
times = [event.wall_time for event in events.Scalars("loss/train")]
seconds = [float(row["seconds"]) for row in rows]
assert all(math.isclose(b - a, s, abs_tol=1e-3) for a, b, s in zip(times, times[1:], seconds[1:])), (times, seconds)
print(f"TensorBoard lists {len(columns)} scalars of {len(rows)} epochs, with the values of metrics.csv")
PYTHON
