#!/usr/bin/env bash
# Interrupts every command that writes, at random moments: TERM, INT, HUP, KILL, and a disk that is full. Each time an old result is
# there already. After each, nothing old may be lost and nothing may be mixed; then the command runs again, to its end, and must leave
# the same files as if nothing had happened. Prints a table by command.
#
#   tests/faults/interruptions.sh [N]        interruptions in all, default 100 (44 in the short form); needs target/release/osteon, or
#                                            another program in $OSTEON; see common.sh
source "$(dirname "$0")/common.sh"
total=${1:-100}
[ -z "$short" ] || total=${1:-44}

phantoms --studies 12 --seed 7 --output ph
prepare train ph/manifest.csv --output run --epochs 1
prepare train ph/manifest.csv --output run2 --epochs 1 --seed 2
prepare osteon model new --architecture inception-v1 --input-size 32x32 --output m.safetensors
prepare osteon model keygen --output key
prepare osteon model keygen --output key2
tensors x.safetensors labels
outline=$(find ph -name '*.anterior.json' | LC_ALL=C sort | head -n 1)
outline2=$(find ph -name '*.posterior.json' | LC_ALL=C sort | tail -n 1)
mkdir -p zenodo/NoMet/Anterior zenodo/NoMet/Posterior zenodo2/NoMet/Anterior zenodo2/NoMet/Posterior
for number in 1 2 3 4 5 6; do
    prepare osteon fuse "ph/studies/000$number.dcm" --output zenodo/NoMet/Anterior/A$number.png
    rm zenodo/NoMet/Anterior/A$number-figure.png
    cp zenodo/NoMet/Anterior/A$number.png zenodo/NoMet/Posterior/P$number.png
done
cp zenodo/NoMet/Anterior/A[123].png zenodo2/NoMet/Anterior/
cp zenodo/NoMet/Posterior/P[123].png zenodo2/NoMet/Posterior/
# A study's networks, and the checkpoint of the largest: weights, their average, two moments.
small_disk 2400

names=('model new' 'model import' 'model export' 'model sign' 'model keygen' fuse curves evaluate 'predict --report' lesions
    'audit forward' 'audit gradients' 'audit trace' 'annotation convert' 'dataset d1' 'dataset d3 --materialise'
    'dataset import zenodo' phantom man train demo reproduce)
net=(--architecture inception-v1 --input-size 32x32)
# Sets `before`, the command that makes the old result, empty where there can be none, and `command`, which replaces it. Both write into
# disk/out and nowhere else. A manifest decides what `kind=manifest` is, a configuration what `kind=run` is.
command_of() {
    before=() kind=files
    local out=disk/out
    case $1 in
    'model new') before=(model new "${net[@]}" --seed 1 --output $out/m) command=(model new "${net[@]}" --seed 2 --output $out/m) ;;
    'model import')
        before=(model new "${net[@]}" --seed 2 --output $out/m) command=(model import m.safetensors "${net[@]}" --output $out/m) ;;
    'model export')
        before=(model export run/model.safetensors --format onnx --output $out/m)
        command=(model export run2/model.safetensors --format onnx --output $out/m) ;;
    'model sign')
        before=(model sign $out/m.safetensors --key key.pem) command=(model sign $out/m.safetensors --key key2.pem) ;;
    'model keygen') command=(model keygen --output $out/k) ;;
    fuse) before=(fuse ph/studies/0001.dcm --output $out/f.png) command=(fuse ph/studies/0002.dcm --output $out/f.png) ;;
    curves) before=(curves run --output $out/c.png) command=(curves run run2 --output $out/c.png) ;;
    evaluate)
        before=(evaluate run --output $out --resample-seed 1) command=(evaluate run --output $out --resample-seed 2) ;;
    'predict --report')
        before=(predict run ph/studies/0001.dcm --report $out) command=(predict run ph/studies/0002.dcm ph/studies/0003.dcm --report $out) ;;
    lesions) before=(lesions ph/manifest.csv --output $out) command=(lesions ph/manifest.csv --pixel-spacing-mm 2 --output $out) ;;
    'audit forward')
        before=(audit forward --model run/model.safetensors --input x.safetensors --output $out/y)
        command=(audit forward --model run2/model.safetensors --input x.safetensors --output $out/y) ;;
    'audit gradients')
        before=(audit gradients --model run/model.safetensors --input x.safetensors --output $out/y)
        command=(audit gradients --model run2/model.safetensors --input x.safetensors --output $out/y) ;;
    'audit trace')
        command=(audit trace run ph/studies/0002.dcm --output $out/trace)
        [ -z "$(force audit trace)" ] || before=(audit trace run ph/studies/0001.dcm --output $out/trace) ;;
    'annotation convert')
        before=(annotation convert "$outline" --output $out/o.xml) command=(annotation convert "$outline2" --output $out/o.xml) ;;
    'dataset d1') kind=manifest before=(dataset d1 ph/manifest.csv --materialise --output $out) command=("${before[@]}" --seed 2) ;;
    'dataset d3 --materialise')
        kind=manifest before=(dataset d3 ph/manifest.csv --materialise --output $out) command=("${before[@]}" --seed 2) ;;
    'dataset import zenodo')
        before=(dataset import zenodo zenodo --output $out/z.csv) command=(dataset import zenodo zenodo2 --output $out/z.csv) ;;
    phantom)
        kind=manifest before=(phantom --studies 12 --annotations --output $out) command=(phantom --studies 8 --seed 2 --output $out) ;;
    man) before=(man --output $out) command=(man --output $out) ;;
    train)
        kind=run before=(train ph/manifest.csv --output $out "${training[@]}" --epochs 1)
        command=(train ph/manifest.csv --output $out "${training[@]}" --epochs 2 --seed 3 --split-seed 3) ;;
    demo) kind=demo before=(demo --quick --output $out) command=(demo --quick --seed 2 --output $out) ;;
    reproduce) kind=study command=(reproduce --scale smoke --epochs 1 --seeds 1 --output $out) ;;
    esac
    [ "$kind" = study ] || [ "$1" = 'model keygen' ] || command+=($(force "${command[@]}"))
}
# What a command needs in disk/out beside its result.
furnish() {
    rm -rf disk/out
    mkdir disk/out
    [ "$1" != 'model sign' ] || cp m.safetensors disk/out/m.safetensors
}
# `HASH  NAME` of every whole file in disk/out, by name.
list() {
    (cd disk/out && find . \( -name '.osteon-*' -o -name .replacing -o -name '*.tmp' \) -prune -o ! -type d -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum)
}

# For each command the old result, the list of it, that of the new one, the names in which two new ones differ (times), how long it takes
# and how much it writes.
declare -A time=() size=()
learn() {
    local key=${1// /_} start
    furnish "$1"
    [ ${#before[@]} = 0 ] || prepare osteon "${before[@]}"
    mkdir -p "$folder/kept"
    cp -a disk/out "$folder/kept/$key"
    list >"$folder/$key.old"
    start=$(micros)
    prepare osteon "${command[@]}"
    time[$key]=$((($(micros) - start) / 1000 + 2))
    list >"$folder/$key.new"
    size[$key]=$(du -sk disk/out | cut -f 1)
    if [ "$kind" = study ]; then
        # Its trainings have times in them, its page has none.
        grep -v -e ' ./index.html$' "$folder/$key.new" | cut -c 67- >"$folder/$key.varies" || true
    else
        rm -rf disk/out
        cp -a "$folder/kept/$key" disk/out
        prepare osteon "${command[@]}"
        list | LC_ALL=C join -1 2 -2 2 -o 1.2,1.1,2.1 "$folder/$key.new" - | awk '$2 != $3 { print $1 }' >"$folder/$key.varies"
        # It names each process that took part, also one that was stopped.
        [ "$kind" != run ] || echo ./run.json >>"$folder/$key.varies"
    fi
}
# Sorts the files of disk/out: sets of how many there are that are only old, only new, both, or neither, and how many old ones are gone.
sorted() {
    list >"$folder/now"
    read -r only_old only_new strange gone < <(awk -v key="$folder/$1" '
        BEGIN {
            while ((getline line < (key ".old")) > 0) old[substr(line, 67)] = substr(line, 1, 64)
            while ((getline line < (key ".new")) > 0) new[substr(line, 67)] = substr(line, 1, 64)
            while ((getline line < (key ".varies")) > 0) varies[line] = 1
        }
        {
            name = substr($0, 67); hash = substr($0, 1, 64); there[name] = 1
            is_old = (name in old) && old[name] == hash
            is_new = (name in new) && (new[name] == hash || ((name in varies) && !is_old))
            if (is_old && !is_new) only_old++
            else if (is_new && !is_old) only_new++
            else if (!is_old && !is_new) strange++
        }
        END {
            for (name in old) if (!(name in there)) gone++
            print only_old + 0, only_new + 0, strange + 0, gone + 0
        }' "$folder/now")
}
# The old result as it was.
all_old() { cmp -s "$folder/now" "$folder/$1.old"; }
# Every file of the new result, and no other.
all_new() {
    [ "$only_old" = 0 ] && [ "$strange" = 0 ] && cmp -s <(cut -c 67- "$folder/now") <(cut -c 67- "$folder/$1.new")
}
# What an interruption left: sets lost and mixed.
judge() {
    local key=$1
    lost=0 mixed=0
    sorted "$key"
    if all_old "$key" || all_new "$key"; then return 0; fi
    case $kind in
    manifest)
        # Without a manifest nothing claims to be whole; with one, all of it has to be.
        [ ! -e disk/out/manifest.csv ] || mixed=1 ;;
    run)
        # The new run stands in the place of the old one, if only its first epoch: none of the old one's files beside it.
        if grep -q '^seed = 3$' disk/out/config.toml 2>/dev/null && [ -s disk/out/model.safetensors ]; then
            [ "$only_old" = 0 ] || mixed=1
        else
            lost=1
        fi ;;
    demo)
        # Of many parts, and its page is about all of them: the old page may not stand over new parts.
        ! grep -F -x -q "$(grep -e "  ./report.html$" "$folder/$key.old")" "$folder/now" || [ "$only_new" = 0 ] || mixed=1 ;;
    study) ;; # its page is compared at its end
    files)
        # Killed while whole new files were put in the place of old ones, of which the one that stands for all goes first and comes last:
        # nothing is lost, and the next command finishes it.
        [ -z "$(find disk/out -path '*/.osteon-*.tmp/commit')" ] || return 0
        [ "$strange" = 0 ] && [ "$gone" = 0 ] || lost=1
        [ "$only_old" = 0 ] || [ "$only_new" = 0 ] || mixed=1 ;;
    esac
}

signals=(TERM INT HUP KILL full)
declare -A count=()
add() { count[$1]=$((${count[$1]:-0} + 1)); }
# interrupt NAME SIGNAL: sets landed.
interrupt() {
    local name=$1 signal=$2 key=${1// /_} attempt wait_ms
    landed=
    for ((attempt = 0; attempt < 25; attempt++)); do
        if [ "$kind" != study ]; then
            rm -rf disk/out
            cp -a "$folder/kept/$key" disk/out
        fi
        if [ "$signal" = full ]; then
            run_full $((size[$key] * $(random 90) / 100 / (1 + attempt))) "$osteon" "${command[@]}"
            [ "$code" = 0 ] || landed=yes
        else
            # A study goes on from the interruption before: a part of it at a time.
            wait_ms=$((${time[$key]} * $(random 1000) / 1000 / (1 + attempt / 5)))
            [ "$kind" != study ] || wait_ms=$((wait_ms / 3))
            begin "$osteon" "${command[@]}"
            sleep "$((wait_ms / 1000)).$(printf %03d $((wait_ms % 1000)))"
            kill -s "$signal" "$process" 2>/dev/null || true
            ended 20
            case $signal:$code:$((wait_ms < 100)) in
            TERM:143:1 | INT:130:1 | HUP:129:1) ;; # sooner than the program is there to heed it
            *:0:*) ;;
            *) landed=yes ;;
            esac
        fi
        # A study goes on from where it is; one that came to its end begins anew.
        if [ -n "$landed" ]; then return 0; fi
        if [ "$kind" = study ]; then rm -rf disk/out && mkdir disk/out; fi
    done
    return 0
}

complaints=()
complain() { complaints+=("$1, SIG$2: $3"); }
learned=
for ((number = 0; number < total; number++)); do
    name=${names[number % ${#names[@]}]}
    key=${name// /_}
    command_of "$name"
    [[ $learned = *"|$name|"* ]] || {
        learn "$name"
        learned+="|$name|"
        furnish "$name"
    }
    if [ "$kind" = study ]; then
        # Its own interruptions follow each other.
        rm -rf disk/out
        if [ -d "$folder/study" ]; then mv "$folder/study" disk/out; else mkdir disk/out; fi
    fi
    signal=${signals[(number / ${#names[@]} + number) % ${#signals[@]}]}
    interrupt "$name" "$signal"
    [ ! -t 2 ] || printf "%d of %d\r" $((number + 1)) "$total" >&2
    [ -z "${FAULTS_TRACE:-}" ] || echo "$((SECONDS)) s  $name $signal $landed $code $said" >&2
    [ -n "$landed" ] || {
        add "$key missed"
        continue
    }
    add "$key $signal"
    add "$key all"
    case $signal:$code in
    full:[12] | TERM:1 | INT:1 | HUP:1 | KILL:137) ;;
    *) add "$key rude" ;;
    esac
    judge "$key"
    [ $lost = 0 ] || { add "$key lost" && complain "$name" "$signal" "$gone old files gone, $strange neither old nor new"; }
    [ $mixed = 0 ] || { add "$key mixed" && complain "$name" "$signal" "$only_old old files beside $only_new new ones"; }

    # Again, to its end. A training goes on every second time, where there is something to go on with.
    again=("${command[@]}")
    if [ "$kind" = run ] && [ $((number / ${#names[@]} % 2)) = 0 ] && grep -q '^seed = 3$' disk/out/.replacing/new/config.toml disk/out/config.toml 2>/dev/null \
        && [ -n "$(find disk/out -name checkpoint)" ]; then
        again=("${command[@]/--force/--resume}")
    fi
    if [ "$kind" = study ] && [ $((number + ${#names[@]})) -lt "$total" ]; then
        mv disk/out "$folder/study"
        continue
    fi
    run osteon "${again[@]}"
    add "$key again"
    sorted "$key"
    if [ "$name" = 'model keygen' ] && [ "$code" = 1 ] && [ -s disk/out/k.pem ] && [ -s disk/out/k.pub.pem ]; then
        code=0 # it was done, and is not done twice
    fi
    if ! worked; then
        add "$key stuck"
        complain "$name" "$signal" "again: $said"
    elif ! all_new "$key" && [ "$name" != 'model keygen' ]; then
        add "$key mixed"
        complain "$name" "$signal" "again: $only_old old, $strange strange files"
    fi
    [ -z "$(leftovers disk/out)" ] || { add "$key left" && complain "$name" "$signal" "left: $(leftovers disk/out | tr '\n' ' ')"; }
done
rm -rf disk/out "$folder/study"

row='%-26s %5s  %4s %4s %4s %4s %4s  %6s  %6s  %6s  %6s  %6s  %6s\n'
printf "$row" command all TERM INT HUP KILL full rude again stuck lost mixed left
columns=(all TERM INT HUP KILL full rude again stuck lost mixed left)
declare -A sums=()
for name in "${names[@]}"; do
    key=${name// /_}
    cells=()
    for column in "${columns[@]}"; do
        value=${count[$key $column]:-0}
        cells+=("$value")
        sums[$column]=$((${sums[$column]:-0} + value))
    done
    printf "$row" "$name" "${cells[@]}"
    missed=${count[$key missed]:-0}
    [ "$missed" = 0 ] || echo "    over too soon to be interrupted: $missed times"
done
cells=()
for column in "${columns[@]}"; do cells+=("${sums[$column]}"); done
printf "$row" 'all together' "${cells[@]}"
echo 'rude: ended otherwise than with exit code 1 or, on a full disk, with a sentence; again: reruns; stuck: reruns that failed;'
echo 'lost: an old file gone or torn; mixed: old files beside new ones; left: something half written after the rerun'
for complaint in ${complaints[@]+"${complaints[@]}"}; do echo "  $complaint"; done
code=- said=
check 'every interruption left the old or the new' '[ "${sums[lost]}" = 0 ] && [ "${sums[mixed]}" = 0 ]'
check 'every rerun worked and left nothing behind' '[ "${sums[stuck]}" = 0 ] && [ "${sums[left]}" = 0 ]'
check 'every interruption ended in order' '[ "${sums[rude]}" = 0 ]'
totals
