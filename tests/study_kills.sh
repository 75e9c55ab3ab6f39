#!/usr/bin/env bash
# Kills the small study (`osteon reproduce --scale smoke`) as often as told, mostly with SIGKILL, at random moments and right behind
# files that stand for something whole, and gives the same command again each time. Checks that every study that comes to its end
# has the page, tables, figures and models of one that was never interrupted, byte for byte, and that SIGTERM, SIGINT and SIGHUP
# end it within two seconds with exit code 1.
#
#   tests/study_kills.sh [KILLS [FLAGS...]]        default 50 --seeds 1 --folds 2; needs target/release/osteon, or another program in $OSTEON
set -euo pipefail
kills=${1:-50}
flags=("${@:2}")
[ $# -gt 1 ] || flags=(--seeds 1 --folds 2)
osteon=$(realpath "${OSTEON:-$(dirname "$0")/../target/release/osteon}")
# ms for a signal that is heeded: two seconds, and SLACK more for a machine that is busy or a checkpoint on a slow disk
allowed=$((2000 + 1000 * ${SLACK:-1}))

source "$(dirname "$0")/scratch.sh"
millis() { echo $((${EPOCHREALTIME/./} / 1000)); }
# A shell in the background would have SIGINT ignored.
study() { exec env --default-signal=INT,TERM,HUP "$osteon" --threads 2 reproduce --scale smoke "${flags[@]}" --output "$folder/study"; }

start=$(millis)
(study) >"$folder/log" 2>&1 || fail "$(cat "$folder/log")"
whole=$(($(millis) - start))
echo "a study without interruption: $whole ms"

# All of a study but what tells of times and of interruptions: the seconds of epochs (for TensorBoard too), and the record of a run.
hashes() {
    (cd "$folder/study" && find . -type f ! -name metrics.csv ! -name "events.out.tfevents.*" ! -name run.json -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
}
hashes >"$folder/expected"

# Each stands for something whole: what comes behind it is where a study may tear.
runs=(d3-inrac d3-outrac d3-classifier-34 d3-two-classes-inrac d2-inrac d1-inrac fold2-inrac)
files=(study.toml phantoms/truth/0001.json phantoms/manifest.csv phantoms/studies/0009.report.txt phantoms/codes.csv
    datasets/d1/dataset.toml datasets/d3/manifest.csv speed.tmp lesions study.md tables/table4.csv figures/figure10.png)
for run in "${runs[@]}"; do
    for name in config.toml checkpoint model.safetensors unaugmented/scores.json unaugmented/report.html scores.json patients.csv \
        report.html tested.toml; do
        files+=("runs/$run/$name")
    done
done

done=0 ends=0 heeded=0 slowest=0
declare -A by
rm -rf "$folder/study"
while true; do
    (study) >"$folder/log" 2>&1 &
    process=$!
    if [ "$done" -ge "$kills" ]; then
        wait "$process" || fail "$(cat "$folder/log")"
        code=0
    else
        # Up to a fifth of a study: as a time, or as the arrival of a file.
        deadline=$(($(millis) + 1 + (RANDOM * 32768 + RANDOM) % (whole / 5)))
        file=
        if [ $((RANDOM % 2)) = 0 ]; then
            missing=()
            for name in "${files[@]}"; do
                [ -e "$folder/study/$name" ] || missing+=("$name")
            done
            [ ${#missing[@]} = 0 ] || file=${missing[RANDOM % (${#missing[@]} < 12 ? ${#missing[@]} : 12)]}
        fi
        while [ "$(millis)" -lt "$deadline" ] && kill -0 "$process" 2>/dev/null; do
            if [ -n "$file" ]; then
                [ ! -e "$folder/study/$file" ] || break
            else
                sleep 0.003
            fi
        done
        signals=(KILL KILL KILL KILL KILL KILL KILL TERM INT HUP)
        signal=${signals[RANDOM % 10]}
        sent=$(millis)
        kill -s "$signal" "$process" 2>/dev/null || true
        code=0
        wait "$process" 2>/dev/null || code=$?
        took=$(($(millis) - sent))
    fi
    process=
    if [ "$code" = 0 ]; then
        # A study that has come to its end.
        hashes >"$folder/found"
        diff "$folder/expected" "$folder/found" >"$folder/difference" || fail "other bytes after $done kills: $(cat "$folder/difference")"
        [ -z "$(find "$folder/study" -name 'checkpoint*')" ] || fail "a checkpoint is left"
        ends=$((ends + 1))
        echo "$done kills, $ends studies to their end"
        [ "$done" -lt "$kills" ] || break
        rm -rf "$folder/study"
        continue
    fi
    if [ "$signal" = KILL ]; then
        [ "$code" = 137 ] || fail "exit code $code: $(cat "$folder/log")"
    else
        [ "$code" = 1 ] || fail "exit code $code after SIG$signal: $(cat "$folder/log")"
        grep -q 'interrupted; ' "$folder/log" || fail "SIG$signal: $(cat "$folder/log")"
        [ "$took" -le "$allowed" ] || fail "SIG$signal was heeded after $took ms: $(cat "$folder/log")"
        [ "$took" -le "$slowest" ] || slowest=$took
        heeded=$((heeded + 1))
    fi
    by[$signal]=$((${by[$signal]:-0} + 1))
    done=$((done + 1))
done
counts=
for signal in "${!by[@]}"; do counts+="${counts:+, }SIG$signal ${by[$signal]}"; done
echo "$done kills (${counts}): $heeded signals heeded, the slowest after $slowest ms; $ends studies to their end, all with the" \
    "bytes of the one without interruption"
