#!/usr/bin/env bash
# Stopping: the signals that ask a program to end, in every command and phase; what a killed command leaves; names as long as a file
# system takes; a study that is killed and goes on.
#
#   tests/faults/stopping.sh [KILLS]   KILLS of a whole study, default 50 (5 in the short form); needs target/release/osteon, or another
#                                      program in $OSTEON; see common.sh
source "$(dirname "$0")/common.sh"
kills=${1:-50}
[ -z "$short" ] || kills=${1:-5}
# Milliseconds that a program may take to end.
limit=$((1000 * ${SLACK:-2}))

phantoms --studies 24 --seed 7 --output ph
prepare train ph/manifest.csv --output run --epochs 1

# The word of a program that was asked to stop: one sentence at its end, no half line.
stopped() { [ "$code" = 1 ] && [ "$took" -le "$limit" ] && says 'osteon: '; }
heed() { # SIGNAL: sends it, and waits for the end.
    kill -s "$1" "$process" 2>/dev/null || true
    ended 20
    said="$took ms  $said"
}
sayings() { said="$took ms  $(grep -a '^osteon:' "$log" | tail -n 1 | cut -c 1-110 || true)"; }

title 'TERM, HUP and INT end a training with a checkpoint and a word'
long=(--architecture inception-v1 --input-size 64x32 --batch 4 --epochs 100)
for signal in TERM HUP INT; do
    for when in 'in the first epoch' 'later'; do
        rm -rf stopped
        begin "$osteon" train ph/manifest.csv --output stopped "${long[@]}"
        if [ "$when" = later ]; then
            await '[ -s stopped/model.safetensors ]'
            sleep "0.$((RANDOM % 10))"
        else
            await 'says "training studies"'
            sleep 0.1
        fi
        heed "$signal"
        sayings
        check "train, SIG$signal $when" 'stopped && [ -n "$(find stopped -name checkpoint -size +0)" ]'
    done
    begin "$osteon" train ph/manifest.csv --output stopped "${long[@]}" --resume
    await 'says "going on after"' || true
    heed INT
    check '... and --resume goes on' 'says "going on after"'
done

# As process 1 of a view of processes, as in a container.
inside=
for view in 'unshare --pid --fork --kill-child' 'unshare --map-root-user --pid --fork --kill-child'; do
    if $view true 2>/dev/null; then inside=$view && break; fi
done
if [ -n "$inside" ]; then
    for signal in TERM INT HUP; do
        rm -rf stopped
        begin $inside "$osteon" train ph/manifest.csv --output stopped "${long[@]}"
        await '[ -s stopped/model.safetensors ]'
        children=$(cat "/proc/$process/task/$process/children")
        start=$(micros)
        kill -s "$signal" ${children%% *}
        ended 6
        took=$((($(micros) - start) / 1000))
        sayings
        check "train as process 1, SIG$signal" 'stopped && [ -s stopped/checkpoint ]'
    done
else
    skip 'no process can be number 1 here'
fi
rm -rf stopped

title 'A signal that is ignored stays ignored'
few=(--architecture inception-v1 --input-size 32x32 --batch 4 --epochs 3)
for signal in INT HUP; do
    rm -rf stopped
    (
        trap '' "$signal"
        exec "$osteon" train ph/manifest.csv --output stopped "${few[@]}"
    ) >"$log" 2>&1 </dev/null &
    process=$!
    await '[ -s stopped/model.safetensors ]'
    kill -s "$signal" "$process"
    ended 60
    check "train started with SIG$signal ignored goes on to its end" \
        'worked && [ "$(tail -n 1 stopped/metrics.csv | cut -d , -f 1)" = 3 ]'
    rm -rf stopped
    (
        trap '' "$signal"
        exec "$osteon" --threads 1 phantom --studies 40 --output stopped
    ) >"$log" 2>&1 </dev/null &
    process=$!
    sleep 0.3
    kill -s "$signal" "$process" 2>/dev/null || true
    ended 60
    check "phantom started with SIG$signal ignored goes on to its end" 'worked && [ -s stopped/manifest.csv ]'
done
rm -rf stopped

title 'Ctrl-C in every command: exit code 1 within two seconds'
phantoms --studies 100 --seed 9 --output many
cp -a run wide
prepare osteon model new --architecture inrac --input-size 256x64 --output big.safetensors
prepare osteon --threads 2 audit trace big.safetensors ph/studies/0001.dcm --output trace
many=()
for round in 1 2 3 4 5; do many+=(many/studies/*.dcm); done
# heeds NAME SECONDS OUTPUT COMMAND...: interrupted after so many seconds; it leaves nothing half written of OUTPUT.
heeds() {
    local name=$1 seconds=$2 output=$3
    shift 3
    local milliseconds=$(awk "BEGIN { print int(1000 * $seconds) }")
    # Sooner, where it was over before the signal or came to its end with it: machines differ.
    while true; do
        rm -rf out
        begin "$osteon" --threads 1 "$@"
        sleep "$(printf '%d.%03d' $((milliseconds / 1000)) $((milliseconds % 1000)))"
        heed INT
        [ "$code" = 0 ] && [ "$milliseconds" -gt 10 ] || break
        milliseconds=$((milliseconds / 2))
    done
    sayings
    check "$name" 'stopped && { [ "$output" = none ] || [ -z "$(leftovers .)" ]; }'
    rm -rf out
}
heeds phantom 0.5 out phantom --studies 2000 --output out
heeds 'phantom --annotations' 0.5 out phantom --studies 2000 --annotations --output out
heeds 'dataset d3' 0.3 out dataset d3 many/manifest.csv --output out
heeds 'dataset d3 --materialise' 1.5 out dataset d3 many/manifest.csv --materialise --output out
prepare osteon dataset d1 many/manifest.csv --materialise --output d1
heeds evaluate 0.6 none evaluate run --manifest many/manifest.csv --split all --output out
heeds 'evaluate, while it resamples' 0.9 none evaluate run --output out --resamples 1000000
heeds predict 0.6 none predict run "${many[@]}"
heeds 'predict --json' 0.6 none predict run "${many[@]}" --json
heeds 'predict --report' 0.6 out predict run "${many[@]}" --report out
heeds lesions 0.5 out lesions many/manifest.csv --output out
heeds 'audit trace --pictures' 0.3 out audit trace big.safetensors ph/studies/0001.dcm --input-size 1024x256 --pictures --output out
heeds 'audit trace --train' 0.5 out audit trace big.safetensors ph/studies/0001.dcm --input-size 1024x256 --train --output out
heeds 'audit verify' 0.3 none audit verify trace
heeds 'audit gradcheck' 0.5 none audit gradcheck big.safetensors
heeds bench 1 none bench --batch 8 --size 1024x256
heeds 'bench --only training' 1 none bench --only training --batch 8 --size 1024x256
heeds 'bench --architecture all' 1 none bench --architecture all --size 256x64
heeds 'demo, in its phantoms' 0.5 out demo --output out
heeds 'demo --quick, in its training' 2 out demo --quick --epochs 50 --output out
prepare osteon evaluate run --output results
heeds 'compare, while it resamples' 0.5 none compare results results --resamples 1000000

title 'Ctrl-C in each phase of reproduce'
# phase NAME SECONDS TEXT ARGUMENTS...: interrupted so many seconds after it has said TEXT.
phase() {
    local name=$1 seconds=$2 text=$3
    shift 3
    begin "$osteon" reproduce "$@" --output study
    if await 'says "$text"'; then
        sleep "$seconds"
        heed INT
        check "reproduce, $name" stopped
    else
        ended 1
        check "reproduce, $name: never said $text" false
    fi
}
begin "$osteon" --threads 1 reproduce --scale quarter --output study
sleep 0.7
heed INT
check 'reproduce, making phantoms' stopped
rm -rf study
phase 'making datasets' 0.02 '^phantoms' --scale smoke --epochs 1
phase 'measuring' 0.1 'trainings of' --scale smoke --epochs 1
phase 'in a training' 0.5 'Estimated time' --scale smoke --epochs 1
rm -rf study

title 'What a killed command leaves is gone after the next'
# scraps NAME COMMAND...: killed in the middle of a write, and run again; both write into the folder out.
scraps() {
    local name=$1 landed=0
    shift
    for ((round = 0; round < 10; round++)); do
        rm -rf out
        mkdir out
        begin "$osteon" "$@"
        await '[ -n "$(leftovers out)" ]' || true
        kill -KILL "$process" 2>/dev/null || true
        ended 5
        if [ "$code" = 137 ] && [ -n "$(leftovers out)" ]; then landed=1 && break; fi
    done
    run osteon "$@" $(force "$@")
    if [ $landed = 0 ]; then said="never killed in the middle of a write"; else said="$(leftovers out | wc -l) left"; fi
    check "$name" '[ $landed = 1 ] && worked && [ -z "$(leftovers out)" ]'
    rm -rf out
}
scraps 'model new' model new --architecture vgg-11 --input-size 32x32 --output out/m.safetensors
scraps 'model export' model export big.safetensors --format onnx --output out/m.onnx
scraps phantom phantom --studies 40 --output out
scraps 'dataset d3 --materialise' dataset d3 ph/manifest.csv --materialise --output out
scraps 'audit trace' audit trace big.safetensors ph/studies/0001.dcm --output out/trace
scraps train train ph/manifest.csv --output out "${training[@]}" --epochs 1

title 'Names of 250 characters'
name() { # LENGTH [EXTENSION]
    printf "%0$(($1 - ${#2}))d%s" 0 "$2" | tr 0 n
}
# long NAME OUTPUT COMMAND...
long() {
    local name=$1 output=$2
    shift 2
    run osteon "$@"
    check "$name" 'worked && [ -e "$output" ]'
    rm -rf "$output"
}
tensor=$(name 250 .safetensors)
long 'model new' "$tensor" model new --architecture inception-v1 --input-size 32x32 --output "$tensor"
long 'model export' "$(name 250 .onnx)" model export run/model.safetensors --format onnx --output "$(name 250 .onnx)"
long fuse "$(name 240 .png)" fuse ph/studies/0001.dcm --output "$(name 240 .png)"
long curves "$(name 250 .svg)" curves run --output "$(name 250 .svg)"
outline=$(find ph -name '*.anterior.json' | LC_ALL=C sort | head -n 1)
long 'annotation convert' "$(name 250 .xml)" annotation convert "$outline" --output "$(name 250 .xml)"
long phantom "$(name 250 '')" phantom --studies 3 --output "$(name 250 '')"
long 'dataset d1' "$(name 250 '')" dataset d1 ph/manifest.csv --output "$(name 250 '')"
long train "$(name 250 '')/model.safetensors" train ph/manifest.csv --output "$(name 250 '')" "${training[@]}" --epochs 1
rm -rf "$(name 250 '')"
long 'audit trace' "$(name 250 '')" audit trace run ph/studies/0001.dcm --output "$(name 250 '')"
long keygen "$(name 242 '').pub.pem" model keygen --output "$(name 242 '')"
rm -f ./nnn*

title "A study that is killed $kills times goes on each time, to the same page"
if [ "$kills" -gt 0 ]; then
    study=(--scale smoke --epochs 1 --seeds 1)
    prepare osteon reproduce "${study[@]}" --output whole
    run env OSTEON="$osteon" SLACK=$((limit / 1000)) "$faults/../study_kills.sh" "$kills" "${study[@]:2}"
    said=$(tail -n 1 "$log")
    check 'reproduce, killed at random' worked
    run osteon reproduce "${study[@]}" --output study
    check '... nothing half written is left' 'worked && cmp -s whole/index.html study/index.html && [ -z "$(leftovers study)" ]'
    # Killed between two files of an evaluation: the last of them are not there.
    for file in report.html patients.csv unaugmented/report.html; do
        rm -f study/index.html "study/runs/d3-inrac/$file"
        run osteon reproduce "${study[@]}" --output study
        check "reproduce, the evaluation of a training has no $file" \
            'worked && [ -s "study/runs/d3-inrac/$file" ] && cmp -s whole/index.html study/index.html'
    done
    phase 'writing its page' 0.02 'The page' "${study[@]}"
fi

totals
