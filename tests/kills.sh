#!/usr/bin/env bash
# Kills a training run (SIGKILL) at random moments, as often as told, and resumes it each time. Checks that a whole checkpoint is
# there after each kill, that the next start goes on from where it stood or later, that no kill costs more time than promised, and
# that every run that comes to its end has the bits of one that was never interrupted.
#
#   tests/kills.sh [KILLS]        default 100; needs target/release/osteon, or another program in $OSTEON
set -euo pipefail
kills=${1:-100}
osteon=${OSTEON:-$(dirname "$0")/../target/release/osteon}

# Seconds between checkpoints. A kill may cost these, the step under way, and the write of the checkpoint that would have been next:
# together no more than `allowed`, which leaves time for a slow disk.
promised=1
allowed=$((promised + ${SLACK:-15}))
minutes=0.0166

source "$(dirname "$0")/scratch.sh"
micros() { echo "${EPOCHREALTIME/./}"; }

"$osteon" phantom --studies 24 --seed 7 --output "$folder/phantoms" >"$folder/log" 2>&1 || fail "$(cat "$folder/log")"
train() {
    local output=$1
    shift
    exec "$osteon" --threads 2 train "$folder/phantoms/manifest.csv" --output "$output" "$@"
}
settings=(--input-size 64x32 --batch 4 --epochs 6 --learning-rate 0.001 --schedule cosine --precise-norm true
    --checkpoint-minutes "$minutes")

start=$(micros)
(train "$folder/whole" "${settings[@]}") >"$folder/log" 2>&1 || fail "$(cat "$folder/log")"
whole=$(($(micros) - start))
echo "a run without interruption: $((whole / 1000)) ms"

# The run has come to its end.
check() {
    "$osteon" audit compare "$folder/whole" "$folder/run" >"$folder/log" || fail "$(cat "$folder/log")"
    cmp "$folder/whole/model.safetensors" "$folder/run/model.safetensors" || fail "other bits"
    [ -z "$(find "$folder/run" -name '*.tmp')" ] || fail "an unfinished file is left"
    ends=$((ends + 1))
}

done=0 ends=0 resumes=0 mid_write=0 worst=0
while [ "$done" -lt "$kills" ]; do
    # A new run, up to its first checkpoint.
    rm -rf "$folder/run"
    position=0
    (train "$folder/run" "${settings[@]}") >"$folder/log" 2>&1 &
    process=$!
    start=$(micros)
    until [ -e "$folder/run/checkpoint" ]; do
        kill -0 "$process" 2>/dev/null || fail "$(cat "$folder/log")"
        sleep 0.01
    done
    while true; do
        # Anywhere from the first instant to a third of a whole run. A command that is gone before this was a whole run.
        wait_ms=$((1 + (RANDOM * 32768 + RANDOM) % (whole / 3000 + 1)))
        until_end=$(($(micros) + wait_ms * 1000))
        while [ "$(micros)" -lt "$until_end" ] && kill -0 "$process" 2>/dev/null; do
            sleep 0.005
        done
        kill -KILL "$process" 2>/dev/null || true
        killed=$(micros)
        code=0
        wait "$process" 2>/dev/null || code=$?
        process=
        if line=$(grep -o 'going on after step [0-9]* of epoch [0-9]*' "$folder/log"); then
            read -r step epoch <<<"$(sed 's/[^0-9]*\([0-9]*\) of epoch \([0-9]*\)/\1 \2/' <<<"$line")"
            now=$((epoch * 1000 + step))
            [ "$now" -ge "$position" ] || fail "went back from $position to $now"
            position=$now
            resumes=$((resumes + 1))
        fi
        if [ "$code" = 0 ]; then
            check
            break
        fi
        [ "$code" = 137 ] || fail "exit code $code: $(cat "$folder/log")"
        done=$((done + 1))
        [ -s "$folder/run/checkpoint" ] || fail "kill $done left no checkpoint"
        [ -z "$(find "$folder/run" -name '*.tmp')" ] || mid_write=$((mid_write + 1))
        saved=$(stat -c %.Y "$folder/run/checkpoint")
        saved=$((${saved/./} / 1000))
        [ "$saved" -gt "$start" ] || saved=$start # of the process before: this one began from it
        lost=$((killed - saved))
        [ "$lost" -le "$worst" ] || worst=$lost
        [ "$lost" -le $((allowed * 1000000)) ] || fail "kill $done cost $((lost / 1000)) ms"

        start=$(micros)
        if [ "$done" -lt "$kills" ]; then
            (train "$folder/run" --resume) >"$folder/log" 2>&1 &
            process=$!
        else
            (train "$folder/run" --resume) >"$folder/log" 2>&1 || fail "$(cat "$folder/log")"
            resumes=$((resumes + 1))
            check
            break
        fi
    done
done
echo "$done kills, $mid_write of them in the middle of a write: each resumed ($resumes said where before the next kill), never" \
    "behind where it was; at most $((worst / 1000)) ms lost with checkpoints every $promised s; $ends runs to their end, all with" \
    "the bits of the one without interruption"
