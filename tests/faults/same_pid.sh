#!/usr/bin/env bash
# Two processes with the same process id, as of two containers, write into one folder at the same time, over and over. What is there
# afterwards is whole and of one of the two, of one that said it had worked; and nothing half written is left.
#
#   tests/faults/same_pid.sh [N]        meetings, default 100 (20 in the short form); needs target/release/osteon, or another program in
#                                       $OSTEON; see common.sh
source "$(dirname "$0")/common.sh"
total=${1:-100}
[ -z "$short" ] || total=${1:-20}

view=
for way in 'unshare --pid --fork --kill-child' 'unshare --map-root-user --pid --fork --kill-child'; do
    if $way true 2>/dev/null; then view=$way && break; fi
done
[ -n "$view" ] || {
    skip 'two processes cannot have one id here'
    totals
}
# Both are process 1 of their view.
run $view bash -c 'echo $$'
[ "$(cat "$log")" = 1 ] || {
    echo "same_pid.sh: $view does not begin at process 1" >&2
    exit 1
}

phantoms --studies 12 --seed 8 --output ph
net=(--architecture inception-v1 --input-size 32x32)
# No validation patients: of 12, batches of 2 would leave a single image over, too little for batch normalisation at this size.
small=("${net[@]}" --batch 2 --epochs 1 --validation-share 0 --patience 0)
prepare osteon model new "${net[@]}" --output m.safetensors
# What each of the two makes alone, in one/out and two/out; `meet KIND OUTPUT` sets the commands.
commands() { # KIND SEED
    case $1 in
    model) command=(model new "${net[@]}" --seed "$2" --output out/m.safetensors) ;;
    export) command=(model export "m$2.safetensors" --format onnx --output out/m.onnx) ;;
    keygen) command=(model keygen --output out/k) ;;
    phantom) command=(phantom --studies 12 --seed "$2" --output out) ;;
    dataset) command=(dataset d3 ph/manifest.csv --seed "$2" --materialise --output out) ;;
    train) command=(train ph/manifest.csv --output out "${small[@]}" --seed "$2") ;;
    esac
}
kinds=(model export keygen phantom dataset train)
prepare osteon model new "${net[@]}" --seed 1 --output m1.safetensors
prepare osteon model new "${net[@]}" --seed 2 --output m2.safetensors
# Files in which two runs of one command differ, for they have times in them.
steady() { (cd "$1" && find . -type f ! -name '*.tmp' ! -name run.json ! -name metrics.csv ! -name curves.png ! -name 'events.out.*' ! -name 'checkpoint*' ! -path './.osteon-*' -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum) | sha256sum; }
declare -A alone=() forced=()
for kind in "${kinds[@]}"; do
    for seed in 1 2; do
        commands "$kind" "$seed"
        rm -rf out
        mkdir out
        prepare osteon "${command[@]}"
        alone[$kind$seed]=$(steady out)
    done
    forced[$kind]=$(force "${command[@]}")
done

# It is whole, and of one of the processes that worked.
whole() {
    local kind=$1 now
    case $kind in
    keygen)
        cp m.safetensors sign.safetensors
        rm -f sign.safetensors.sig
        osteon model sign sign.safetensors --key out/k.pem >>"$log" 2>&1 && osteon model verify sign.safetensors --key out/k.pub.pem >>"$log" 2>&1
        ;;
    *)
        now=$(steady out)
        { [ "$first" = 0 ] && [ "$now" = "${alone[${kind}1]}" ]; } || { [ "$second" = 0 ] && [ "$now" = "${alone[${kind}2]}" ]; }
        ;;
    esac
}
declare -A met=() both=() neither=() torn=() left=() crashed=()
for ((number = 0; number < total; number++)); do
    # Cheap ones more often.
    case $((number % 10)) in
    0 | 1 | 2) kind=model ;;
    3 | 4) kind=export ;;
    5) kind=keygen ;;
    6 | 7) kind=phantom ;;
    8) kind=dataset ;;
    9) kind=train ;;
    esac
    rm -rf out
    mkdir out
    # Every second time over a result that is there.
    flags=
    if [ $((number / 10 % 2)) = 1 ] && [ -n "${forced[$kind]}" ]; then
        commands "$kind" 1
        prepare osteon "${command[@]}"
        flags=--force
    fi
    commands "$kind" 1
    log=$folder/first begin $view "$osteon" "${command[@]}" $flags
    one=$process
    sleep "0.0$(printf %02d $((RANDOM % 40)))"
    commands "$kind" 2
    log=$folder/second begin $view "$osteon" "${command[@]}" $flags
    two=$process
    others=("$one" "$two")
    first=0 second=0
    wait "$one" 2>/dev/null || first=$?
    wait "$two" 2>/dev/null || second=$?
    process= others=()
    met[$kind]=$((${met[$kind]:-0} + 1))
    [ "$first" -le 2 ] && [ "$second" -le 2 ] || crashed[$kind]=$((${crashed[$kind]:-0} + 1))
    if [ "$first" = 0 ] && [ "$second" = 0 ]; then both[$kind]=$((${both[$kind]:-0} + 1)); fi
    if [ "$first" != 0 ] && [ "$second" != 0 ]; then
        neither[$kind]=$((${neither[$kind]:-0} + 1))
    elif ! whole "$kind"; then
        torn[$kind]=$((${torn[$kind]:-0} + 1))
    fi
    [ -z "$(leftovers out)" ] || left[$kind]=$((${left[$kind]:-0} + 1))
done

row='%-10s %9s %12s %14s %8s %8s %8s\n'
printf "$row" command meetings 'both worked' 'neither worked' torn left crashed
code=-
for kind in "${kinds[@]}"; do
    printf "$row" "$kind" "${met[$kind]:-0}" "${both[$kind]:-0}" "${neither[$kind]:-0}" "${torn[$kind]:-0}" "${left[$kind]:-0}" "${crashed[$kind]:-0}"
done
echo "torn: not whole, or not of a process that said that it had worked; left: something half written"
said=
for kind in "${kinds[@]}"; do
    check "$kind: ${met[$kind]:-0} meetings" \
        '[ "${neither[$kind]:-0}${torn[$kind]:-0}${left[$kind]:-0}${crashed[$kind]:-0}" = 0000 ]'
done
totals
