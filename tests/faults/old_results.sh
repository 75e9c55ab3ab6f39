#!/usr/bin/env bash
# Old results are safe until new ones are whole: what every command that writes does to what is there, when it is wrongly used, when
# its disk is full, when it is killed, and when its output is no ordinary file.
#
#   tests/faults/old_results.sh        needs target/release/osteon, or another program in $OSTEON; see common.sh
source "$(dirname "$0")/common.sh"
rounds=20
[ -z "$short" ] || rounds=5

phantoms --studies 12 --seed 7 --output ph
cp -a ph ph-truncated
truncate -s 3000 ph-truncated/studies/0003.dcm
prepare train ph/manifest.csv --output run --epochs 1
prepare train ph/manifest.csv --output other --epochs 1 --seed 2
prepare osteon evaluate run
prepare osteon evaluate other
keep run other ph
model=run/model.safetensors

title 'train --force: the old run stays until the new one has an epoch'
remember run
# What the run was is as it was, and put back where it is not, for the next check.
stands() {
    if unchanged "$1"; then return 0; fi
    restore "$1"
    return 1
}
old() { # WHAT ARGUMENTS...
    local what=$1
    shift
    run osteon train "$@" --output run --force
    check "train --force, $what" 'stands run && refused'
    rm -rf run/.replacing
}
old 'a typo in --architecture' ph/manifest.csv --architecture inrax
old 'two class weights for three classes' ph/manifest.csv "${training[@]}" --class-weights 1,2
old 'class weights that are no numbers' ph/manifest.csv "${training[@]}" --class-weights heavy
old 'a scan that is cut off' ph-truncated/manifest.csv "${training[@]}" --epochs 1
old 'no manifest' nowhere.csv "${training[@]}"
old 'no configuration file' ph/manifest.csv --config nowhere.toml
old 'a rate that explodes' ph/manifest.csv "${training[@]}" --epochs 2 --learning-rate 1e30 --schedule constant --warm-up-epochs 0
for kilobytes in 300000 500000; do
    run_small "$kilobytes" train ph/manifest.csv --output run --force "${training[@]}" --batch 64 --epochs 1
    check "train --force, $((kilobytes / 1000)) MB of memory" 'stands run && [ $code != 0 ] && orderly'
done
rm -rf run/.replacing
run osteon train ph/manifest.csv --output run "${training[@]}" --epochs 1
check 'train over a run without --force' 'stands run && refused && says --force'
run osteon train ph/manifest.csv --config run/config.toml --output run --force --architecture inrax
check 'train --force with the configuration of the run it replaces, and a typo' 'stands run && refused'

small_disk 500
for left in 0 20000 90000; do
    rm -rf disk/run
    cp -a "$folder/kept/run" disk/run
    remember disk/run
    run_full "$left" osteon train ph/manifest.csv --output disk/run --force "${training[@]}" --epochs 2 --seed 3
    check "train --force, $left kB left on the disk" '{ refused && unchanged disk/run; } || { worked && [ -s disk/run/model.safetensors ]; }'
done
rm -rf disk/run

# A first epoch that is long enough, with checkpoints within it.
slow=(--architecture inception-v1 --input-size 128x64 --batch 2 --epochs 2 --checkpoint-minutes 0.0001 --seed 3)
prepare osteon train ph/manifest.csv --output whole "${slow[@]}"
for signal in KILL TERM; do
    for then in --resume --force; do
        restore run
        touch mark
        begin "$osteon" train ph/manifest.csv --output run --force "${slow[@]}"
        await '[ run/.replacing/new/checkpoint -nt mark ] || [ run/checkpoint -nt mark ]' || true
        kill -s "$signal" "$process" 2>/dev/null || true
        ended 5
        check "train --force, SIG$signal in the first epoch" '[ $code != 0 ] && unchanged run'
        if [ "$then" = --resume ]; then
            run osteon train ph/manifest.csv --output run --resume "${slow[@]}"
        else
            run osteon train ph/manifest.csv --output run --force "${slow[@]}"
        fi
        check "... then $then: the new run, with the bits of one that was never stopped" \
            'worked && cmp -s run/model.safetensors whole/model.safetensors && [ -z "$(leftovers run)" ] && [ ! -e run/scores.json ]'
    done
done
rm -rf whole
restore run

title 'reproduce: a plan writes nothing, a folder of something else is refused'
run_within 60 "$osteon" reproduce --scale smoke --epochs 1 --plan --output plan
check 'reproduce --plan writes nothing' 'worked && [ -z "$(find plan -type f 2>/dev/null)" ]'
mkdir -p study
cp -a ph study/phantoms
prepare osteon dataset d1 ph/manifest.csv --output study/datasets/d1
remember study
for flag in --plan --quiet; do
    flags=(--scale smoke --epochs 1 --output study)
    [ "$flag" != --plan ] || flags+=(--plan)
    run_within 6 "$osteon" reproduce "${flags[@]}"
    check "reproduce ${flag/--quiet/}, a user's own phantoms and datasets in the folder" \
        'unchanged study && { refused || [ $flag = --plan ]; }'
    rm -rf study
    mkdir -p study/datasets
    cp -a ph study/phantoms
    prepare osteon dataset d1 ph/manifest.csv --output study/datasets/d1
done
rm -rf study
mkdir study
echo notes >study/notes.txt
remember study
run_within 3 "$osteon" reproduce --scale smoke --epochs 1 --output study
check "reproduce, a user's notes in the folder" 'refused && unchanged study'
rm -rf study plan

title 'An existing result: refused without --force, replaced with it'
tensors x.safetensors
tensors xl.safetensors labels
prepare osteon fuse ph/studies/0001.dcm --output a.png
cp a.png b.png
prepare osteon model keygen --output key
prepare osteon model keygen --output key2
outline=$(find ph -name '*.anterior.json' | LC_ALL=C sort | head -n 1)
mkdir -p zenodo/NoMet/Anterior zenodo/NoMet/Posterior zenodo/Met/Anterior zenodo/Met/Posterior
for view in Anterior/A Posterior/P; do
    for number in 1 2; do cp a.png "zenodo/NoMet/$view$number.png" && cp b.png "zenodo/Met/$view$number.png"; done
done
# file NAME OUTPUT COMMAND...: the last argument is the output.
precious='not to be lost'
over_file() {
    local name=$1 output=$2 flag
    shift 2
    rm -rf "$output"
    printf %s "$precious" >"$output"
    run osteon "$@" "$output"
    check "$name over a file" 'refused && says --force && [ "$(cat "$output")" = "$precious" ]'
    printf %s "$precious" >"$output"
    chmod 640 "$output"
    run osteon "$@" "$output" --force
    check "$name over a file with --force: written, mode 640 stays" \
        'worked && [ "$(head -c 14 "$output" | tr -d "\\0")" != "$precious" ] && [ "$(stat -c %a "$output")" = 640 ]'
    rm -rf "$output"
}
over_file 'model new' m.safetensors model new --architecture inception-v1 --input-size 32x32 --output
over_file 'model import' m.safetensors model import $model --architecture inception-v1 --input-size 32x32 --output
over_file 'model export' m.onnx model export $model --format onnx --output
over_file fuse f.png fuse ph/studies/0001.dcm --output
over_file curves c.png curves run other --output
over_file 'audit forward' y.safetensors audit forward --model $model --input x.safetensors --output
over_file 'audit gradients' y.safetensors audit gradients --model $model --input xl.safetensors --output
over_file 'annotation convert' o.xml annotation convert "$outline" --output
over_file 'dataset import zenodo' z.csv dataset import zenodo zenodo --output

# The second file of a command that writes two.
printf %s "$precious" >f-figure.png
rm -f f.png
run osteon fuse ph/studies/0001.dcm --output f.png
check 'fuse, its figure over a file' 'refused && says --force && [ "$(cat f-figure.png)" = "$precious" ]'
prepare osteon model sign $model --key key.pem
remember $model.sig
run osteon model sign $model --key key2.pem
check "model sign over another key's signature" 'refused && says --force && unchanged $model.sig'
run osteon model sign $model --key key2.pem --force
check "model sign over another key's signature with --force" 'worked && ! unchanged $model.sig'
rm -f $model.sig
remember key.pem key.pub.pem
run osteon model keygen --output key
check 'model keygen over keys' 'refused && unchanged key.pem key.pub.pem'

# over_folder WHAT FILE COMMAND...: a user's file where a result goes; the last argument is the output folder.
over_folder() {
    local name=$1 file=$2
    shift 2
    rm -rf out
    mkdir -p "$(dirname "out/$file")"
    printf %s "$precious" >"out/$file"
    remember out
    run_within 60 "$osteon" "$@" out
    check "$name over a folder with a $file" 'refused && says --force && unchanged out'
    rm -rf out
    mkdir -p "$(dirname "out/$file")"
    printf %s "$precious" >"out/$file"
    echo notes >out/notes.txt
    run_within 60 "$osteon" "$@" out --force
    check "$name over a folder with a $file with --force; what is not its own stays" \
        'worked && [ "$(head -c 14 "out/$file" | tr -d "\\0")" != "$precious" ] && [ "$(cat out/notes.txt)" = notes ]'
    rm -rf out
}
over_folder evaluate scores.json evaluate run --output
over_folder evaluate report.html evaluate run --output
over_folder 'predict --report' report.html predict run ph/studies/0001.dcm --report
over_folder lesions lesions.csv lesions ph/manifest.csv --output
over_folder 'dataset d1' manifest.csv dataset d1 ph/manifest.csv --output
over_folder 'dataset d3 --materialise' dataset.toml dataset d3 ph/manifest.csv --materialise --output
over_folder phantom manifest.csv phantom --studies 3 --output
over_folder man osteon.1 man --output
over_folder train model.safetensors train ph/manifest.csv "${training[@]}" --epochs 1 --output
over_folder demo run/model.safetensors demo --quick --output

remember other run ph
run osteon evaluate run --output other
check 'evaluate A --output RUN_B' 'stands other && refused && says --force'
run osteon predict run ph/studies/0001.dcm --report other
check 'predict --report RUN' 'stands other && refused && says --force'
run osteon curves run --output a.png
check 'curves --output over a scan' 'refused && says --force && cmp -s a.png b.png'
cp b.png a.png
run osteon audit trace run ph/studies/0001.dcm --output other
check 'audit trace --output RUN' 'stands other && refused'
run osteon phantom --studies 3 --output ph
check 'phantom over other phantoms' 'stands ph && refused && says --force'
cp -a "$folder/kept/ph" demo-phantoms
mkdir demo
mv demo-phantoms demo/phantoms
remember demo
run_within 3 "$osteon" demo --quick --output demo
check "demo over a user's phantoms" 'refused && says --force && unchanged demo'
rm -rf demo

title 'Output and input are one file: refused always'
# What the first of two commands said that did not do what it should.
wrong() { [ "$verdict" = yes ] || { code=${verdict%% *} said=${verdict#* }; }; }
# same NAME FILE COMMAND...: FILE is an input; %s in the command is the output.
same() {
    local name=$1 input=$2 extension=${2##*.} output flag way
    shift 2
    cp "$input" kept-input
    for way in 'the same path' 'a symlink' 'a hard link' './../ path'; do
        case $way in
        'the same path') output=$input ;;
        'a symlink') output=alias.$extension && ln -sf "$input" "$output" ;;
        'a hard link') output=alias.$extension && ln -f "$input" "$output" ;;
        './../ path') output=./../work/$input ;;
        esac
        local forced=("$@")
        local command=("${forced[@]//%s/$output}")
        local verdict=yes
        for flag in '' $(force "${command[@]}"); do
            run osteon "${command[@]}" $flag
            refused && cmp -s "$input" kept-input || verdict="$code $said"
            rm -f "$input"
            cp kept-input "$input"
            [ "$way" != 'a hard link' ] || ln -f "$input" "$output"
            [ "$way" != 'a symlink' ] || ln -sf "$input" "$output"
        done
        wrong
        check "$name, $way" '[ "$verdict" = yes ]'
        rm -f "alias.$extension"
    done
    rm -f kept-input
}
cp $model m.safetensors
same 'model import W --output W' m.safetensors model import m.safetensors --architecture inception-v1 --input-size 32x32 --output %s
same 'model export M --output M' m.safetensors model export m.safetensors --format onnx --output %s
same 'fuse A,B --output A' a.png fuse a.png,b.png --views anterior,posterior --output %s
same 'audit forward, over the input' x.safetensors audit forward --model m.safetensors --input x.safetensors --output %s
same 'audit forward, over the model' m.safetensors audit forward --model m.safetensors --input x.safetensors --output %s
same 'audit gradients, over the input' xl.safetensors audit gradients --model m.safetensors --input xl.safetensors --output %s
cp "$outline" o.json
same 'annotation convert' o.json annotation convert o.json --output %s
cp b.png a.png
same 'dataset import zenodo, over a picture' zenodo/Met/Anterior/A1.png dataset import zenodo zenodo --output %s

# inputs NAME FILES COMMAND...: refused, with --force too where there is one, and these inputs are as before.
inputs() {
    local name=$1 verdict=yes flag
    local -a kept=($2)
    shift 2
    remember "${kept[@]}"
    for flag in '' $(force "$@"); do
        run_within 20 "$osteon" "$@" $flag
        refused && unchanged "${kept[@]}" || verdict="$code $said"
    done
    wrong
    check "$name" '[ "$verdict" = yes ]'
}
cp ph/studies/0001.dcm scan.dcm
ln -f scan.dcm g-figure.png
inputs 'fuse, its figure a hard link to the scan' scan.dcm fuse scan.dcm --output g.png
rm -f g.png g-figure.png
ln -sf scan.dcm g-figure.png
inputs 'fuse, its figure a symlink to the scan' scan.dcm fuse scan.dcm --output g.png
rm -f g.png g-figure.png
restore run
cp run/metrics.csv metrics
ln -sf run/metrics.csv curves.png
inputs "curves, a symlink to a run's metrics" run/metrics.csv curves run --output curves.png
rm -f curves.png
restore run
rm -f $model.sig
ln -f key.pem $model.sig
inputs 'model sign, the signature a hard link to the key' key.pem model sign $model --key key.pem
rm -f $model.sig
cp "$folder/kept/run/model.safetensors" $model
ln -sf model.safetensors $model.sig
inputs 'model sign, the signature a symlink to the model' $model model sign $model --key key.pem
rm -f $model.sig
restore run ph
inputs "dataset d3 into the archive's own folder" ph dataset d3 ph/manifest.csv --output ph
restore ph
mkdir outlines
ln -f ph/manifest.csv outlines/lesions.csv
inputs 'lesions, a result that is a hard link to the manifest' ph/manifest.csv lesions ph/manifest.csv --output outlines
rm -rf outlines
restore ph
mkdir page
ln -f ph/studies/0001.dcm page/report.html
inputs 'predict --report, the page a hard link to the scan' ph/studies/0001.dcm predict run ph/studies/0001.dcm --report page
rm -rf page
restore ph
mkdir page
ln -f $model page/report.html
inputs 'predict --report, the page a hard link to the model' $model predict run ph/studies/0001.dcm --report page
rm -rf page
restore run ph
mkdir page
ln -f run/split.csv page/scores.json
inputs "evaluate, a result that is a hard link to the run's split" run/split.csv evaluate run --output page
rm -rf page
restore run

title 'Devices, FIFOs, symlinks and modes'
# sink NAME OUTPUT COMMAND...: the last argument is the output; OUTPUT.* the name it gets.
sink() {
    local name=$1 extension=$2 reader
    shift 2
    rm -f "plain.$extension" fifo.* got "null.$extension" link.* target
    prepare osteon "$@" "plain.$extension"
    if mknod "null.$extension" c 1 3 2>/dev/null && { : >"null.$extension"; } 2>/dev/null; then
        run osteon "$@" "null.$extension"
        check "$name to a device: it stays one" 'worked && [ -c "null.$extension" ]'
    else
        skip "$name to a device: none can be made here"
    fi
    mkfifo "fifo.$extension"
    timeout 20 cat "fifo.$extension" >got &
    reader=$!
    run_within 20 "$osteon" "$@" "fifo.$extension"
    if [ ! -p "fifo.$extension" ]; then kill "$reader" 2>/dev/null || true; fi
    wait "$reader" 2>/dev/null || true
    check "$name to a FIFO: its reader gets the bytes" 'worked && [ -p "fifo.$extension" ] && cmp -s got "plain.$extension"'
    echo old >target
    chmod 640 target
    ln -s target "link.$extension"
    run osteon "$@" "link.$extension" $(force "$@")
    check "$name to a symlink: its target gets the bytes, and keeps mode 640" \
        'worked && [ -L "link.$extension" ] && [ "$(stat -c %a target)" = 640 ] && cmp -s target "plain.$extension"'
    rm -f "link.$extension" target ./link-figure.png
    ln -s target "link.$extension"
    run osteon "$@" "link.$extension"
    check "$name to a symlink to nothing: its target is made" \
        'worked && [ -L "link.$extension" ] && cmp -s target "plain.$extension"'
    rm -f "plain.$extension" fifo.* got "null.$extension" link.* target ./*-figure.png
}
sink 'model new' safetensors model new --architecture inception-v1 --input-size 32x32 --output
sink 'model import' safetensors model import $model --architecture inception-v1 --input-size 32x32 --output
sink 'model export' onnx model export $model --format onnx --output
sink fuse png fuse ph/studies/0001.dcm --output
sink curves svg curves run other --output
sink 'audit forward' safetensors audit forward --model $model --input x.safetensors --output
sink 'audit gradients' safetensors audit gradients --model $model --input xl.safetensors --output
sink 'annotation convert' xml annotation convert "$outline" --output
sink 'dataset import zenodo' csv dataset import zenodo zenodo --output

title 'Phantoms and datasets: a manifest never stands over the files of others'
phantoms --studies 12 --seed 1 --output old-ph
phantoms --studies 12 --seed 2 --output new-ph
# As deep as disk/out: a record names its source by the way from there.
mkdir deep
prepare osteon dataset d3 old-ph/manifest.csv --seed 1 --materialise --output deep/old-d3
prepare osteon dataset d3 new-ph/manifest.csv --seed 2 --materialise --output deep/new-d3
mv deep/old-d3 deep/new-d3 .
rmdir deep
# A folder with a manifest has all of the old files, or all of the new.
honest() {
    [ ! -e disk/out/manifest.csv ] || [ "$(tree disk/out)" = "$(tree "old-$1")" ] || [ "$(tree disk/out)" = "$(tree "new-$1")" ]
}
# force_over NAME KIND COMMAND...: killed at random moments, and on a full disk.
force_over() {
    local name=$1 kind=$2 torn=0 landed=0 start whole verdict=yes
    shift 2
    rm -rf disk/out
    cp -a "old-$kind" disk/out
    start=$(micros)
    prepare osteon "$@" --force
    whole=$((($(micros) - start) / 1000))
    for ((round = 0; round < rounds; round++)); do
        rm -rf disk/out
        cp -a "old-$kind" disk/out
        begin "$osteon" "$@" --force
        sleep "$(printf '0.%03d' $((1 + $(random $((whole < 998 ? whole : 998))))))"
        kill -KILL "$process" 2>/dev/null || true
        ended 5
        [ "$code" != 137 ] || landed=$((landed + 1))
        honest "$kind" || torn=$((torn + 1))
    done
    said="$torn of $landed kills left a manifest over the files of others"
    check "$name --force, killed at random" '[ $torn = 0 ] && [ $landed -gt 0 ]'
    run osteon "$@" --force
    check '... and again: whole, and nothing left over' \
        'worked && [ "$(tree disk/out)" = "$(tree "new-$kind")" ] && [ -z "$(leftovers disk/out)" ]'
    for left in 0 100 1000 3000 6000; do
        rm -rf disk/out
        cp -a "old-$kind" disk/out
        remember disk/out
        run_full "$left" osteon "$@" --force
        honest "$kind" || verdict=no
        # What it says of what was there is so.
        ! says unchanged || unchanged disk/out || verdict=no
        [ "$left" != 100 ] || said_early=$said
    done
    said=$said_early
    check "$name --force on a disk that is full sooner or later" '[ $verdict = yes ]'
}
force_over phantom ph phantom --studies 12 --seed 2 --annotations --output disk/out
force_over "dataset d3 --materialise" d3 dataset d3 new-ph/manifest.csv --seed 2 --materialise --output disk/out
rm -rf disk/out

cp -a old-ph ph2
run osteon phantom --studies 12 --seed 2 --output ph2 --force
check 'phantom --force without --annotations: no outlines of before' \
    'worked && [ -z "$(find ph2 -name "*.json" -path "*studies*" -o -name "*.report.txt" -o -name codes.csv)" ]'
run osteon phantom --studies 5 --seed 2 --output ph2 --force
check 'phantom --force with fewer patients: no scans of before' 'worked && [ "$(find ph2/studies -type f | wc -l)" = 5 ]'
mapfile -t pictures < <(find old-d3 -name '*.png' | LC_ALL=C sort)
run osteon dataset check old-d3
check 'dataset check of a whole dataset' worked
cp -a old-d3 d3
mv "d3/${pictures[0]#old-d3/}" swap
cp "d3/${pictures[20]#old-d3/}" "d3/${pictures[0]#old-d3/}"
mv swap "d3/${pictures[20]#old-d3/}"
run osteon dataset check d3
check 'dataset check, two pictures swapped' '[ $code = 1 ] && says "osteon:"'
rm -rf d3
cp -a old-d3 d3
cp a.png "d3/${pictures[3]#old-d3/}"
run osteon dataset check d3
check 'dataset check, a picture replaced' '[ $code = 1 ] && says "osteon:"'
rm -rf d3
cp -a old-d3 d3
rm "d3/${pictures[5]#old-d3/}"
run osteon dataset check d3
check 'dataset check, a picture missing' '[ $code = 1 ] && says "osteon:"'

title 'Full disks'
# full NAME KB OUTPUT COMMAND...: what is there stays, and only then is called unchanged.
full() {
    local name=$1 output=$3
    local -a lefts=($2)
    shift 3
    for left in "${lefts[@]}"; do
        remember "$output"
        run_full "$left" osteon "$@"
        check "$name, $left kB left" 'refused && unchanged "$output" && [ -z "$(leftovers disk)" ]'
    done
}
cp $model disk/m.safetensors
full 'model new --force' '0 9000' disk/m.safetensors model new --architecture inception-v1 --output disk/m.safetensors \
    $(force model new)
cp a.png disk/f.png
full 'fuse --force' '0' disk/f.png fuse ph/studies/0001.dcm --output disk/f.png $(force fuse)
cp -a "$folder/kept/run" disk/run
full 'evaluate' '0' disk/run evaluate disk/run $(force evaluate)
rm -rf disk/run
prepare osteon lesions ph/manifest.csv --output disk/lesions
full 'lesions --force' '0' disk/lesions lesions ph/manifest.csv --output disk/lesions $(force lesions)

title 'keygen'
# The private key's name fits into the file system's 255 bytes, the public one's does not.
name=$(printf '%0248d' 0 | tr 0 n)
run osteon model keygen --output "$name"
check 'keygen whose public key cannot be written leaves no private one' 'refused && [ ! -e "$name.pem" ]'
mkdir blocked.pub.pem
run osteon model keygen --output blocked
check '... nor where a folder has its name' 'refused && [ ! -e blocked.pem ]'
rmdir blocked.pub.pem
run osteon model keygen --output blocked
check '... and again' 'worked && [ -s blocked.pem ] && [ -s blocked.pub.pem ]'
if [ -n "$disk" ]; then
    # Room for one of the two.
    run_full 4 osteon model keygen --output disk/key
    check 'keygen on a disk with room for one key' 'refused && [ ! -e disk/key.pem ]'
    run osteon model keygen --output disk/key
    check '... and again' 'worked && [ -s disk/key.pem ] && [ -s disk/key.pub.pem ]'
fi

totals
