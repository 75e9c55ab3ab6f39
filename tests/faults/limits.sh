#!/usr/bin/env bash
# Limits: memory that does not grow with the number of scans, counts out of range, too little memory, names that play tricks with a
# terminal or a spreadsheet, paths in pages, keys that others can read, names that are not UTF-8.
#
#   tests/faults/limits.sh        needs target/release/osteon, or another program in $OSTEON; see common.sh
source "$(dirname "$0")/common.sh"

phantoms --studies 12 --seed 7 --output ph
prepare train ph/manifest.csv --output run --epochs 1
prepare osteon evaluate run
scans=(ph/studies/*.dcm)
# So many scans, the same ones over and over.
scans_of() {
    list=()
    while [ ${#list[@]} -lt "$1" ]; do list+=("${scans[@]}"); done
    list=("${list[@]:0:$1}")
}

title 'predict needs no more memory for more scans'
# peak COMMAND...: sets `peak`, the most memory that it had, in MB.
peak() {
    local line
    peak=0
    begin "$osteon" "$@"
    while running; do
        line=$(grep VmHWM "/proc/$process/status" 2>/dev/null || true)
        line=${line//[^0-9]/}
        [ "${line:-0}" -le "$peak" ] || peak=$line
        sleep 0.02
    done
    ended 5
    peak=$((peak / 1024))
} 2>/dev/null
numbers=(50 400)
[ -z "$short" ] || numbers=(50 250)
for flags in '' --json '--report page'; do
    peaks=()
    # A report holds the hundred scans of a page.
    [ "$flags" != '--report page' ] || numbers[0]=150
    for number in "${numbers[@]}"; do
        rm -rf page
        scans_of "$number"
        peak predict run "${list[@]}" $flags
        peaks+=("$peak")
    done
    said="${peaks[0]} MB for ${numbers[0]} scans, ${peaks[1]} MB for ${numbers[1]}"
    check "predict $flags" 'worked && [ $((peaks[1] - peaks[0])) -le 24 ]'
    if [ "$flags" = --json ]; then
        # Without a parser: objects with commas between them in one list.
        osteon predict run "${list[@]}" --json >json 2>/dev/null || true
        said="$(head -c 60 json | tr -s '\n ' ' ')..."
        if command -v jq >/dev/null; then
            check '... is one list of JSON' '[ "$(jq length json)" = "$number" ]'
        else
            check '... is one list of JSON' '[ "$(grep -c "\"scan\":" json)" = "$number" ] && [ "$(head -n 1 json)" = "[" ] \
                && [ "$(tail -n 1 json)" = "]" ] && [ "$(grep -c "^  },$" json)" = $((number - 1)) ]'
        fi
    fi
done
said=$(cd page && echo report*.html)
check "... a page for each 100 of the ${numbers[1]} scans" \
    '[ "$(find page -name "report*.html" | wc -l)" = $(((numbers[1] + 99) / 100)) ] && [ -s page/report-2.html ]'
rm -rf page
cp ph/manifest.csv broken.dcm
run osteon predict run "${scans[0]}" broken.dcm "${scans[1]}" --json
# What is on standard output alone.
osteon predict run "${scans[0]}" broken.dcm "${scans[1]}" --json >json 2>/dev/null || true
check 'predict --json with a scan that cannot be read: a list of three, exit code 1' \
    '[ $code = 1 ] && [ "$(grep -c "\"scan\":" json)" = 3 ] && grep -q "\"error\":" json && [ "$(tail -n 1 json)" = "]" ]'

title 'Counts out of range: exit code 2, at once'
# usage ARGUMENTS...: with a limit on its memory and its time, should it believe them.
usage() {
    local shown="$*"
    [ ${#shown} -le 78 ] || shown="$1 ... ${!#}"
    code=0
    (
        ulimit -v 16000000
        exec timeout -s KILL 3 nice "$osteon" "$@"
    ) >"$log" 2>&1 </dev/null || code=$?
    hear
    check "$shown" '[ $code = 2 ]'
    rm -rf u
} 2>/dev/null
run_within 3 nice "$osteon" --threads 1000000 man train
check '--threads 1000000, within a second' '[ $code = 2 ] && [ $took -lt 1000 ]'
for value in -1 x 1.5 99999999999999999999; do usage --threads "$value" man train; done
settings=(--batch=0 --batch=1 --batch=1000000000 --epochs=0 --epochs=1000000000000 --loader-threads=0 --loader-threads=1000000
    --cache-mb=99999999999999 --test-every=0 --checkpoint-minutes=-1 --checkpoint-minutes=nan
    --learning-rate=nan --learning-rate=-1 --train-share=2 --train-share=nan --validation-share=1 --input-size=0x0
    --input-size=1000000x1000000 --input-size=99999999999999999999x1 --patience=-1 --rotation-deg=1e9 --translation-px=1e9
    --translation-px=nan --step-epochs=0 --clip-norm=-1 --warm-up-epochs=-1)
for setting in "${settings[@]}"; do usage train ph/manifest.csv --output u "${training[@]}" "$setting"; done
usage phantom --output u --studies 0
usage phantom --output u --studies 1000000000000
usage demo --output u --studies 0
usage demo --output u --studies 1000000000000
usage demo --output u --epochs 0
usage demo --output u --size 1x1
usage evaluate run --output u --resamples 0
usage evaluate run --output u --resamples 1000000000000
usage compare run run --resamples 1000000000000
usage predict run "${scans[0]}" --max-file-size 0
usage predict run "${scans[0]}" --max-file-size 99999999999999999
usage bench --rounds 0
usage bench --rounds 1000000000000
usage bench --batch 0
usage bench --batch 1000000000
usage bench --size 1000000x1000000
usage audit gradcheck run --batch 0
usage audit gradcheck run --batch 1000000000
usage audit gradcheck run --input-size 1000000x1000000
usage audit trace run "${scans[0]}" --output u --input-size 1000000x1000000
usage audit trace run "${scans[0]}" --output u --train --learning-rate nan
usage model new --output u --input-size 1000000x1000000
usage dataset d3 ph/manifest.csv --output u --rotation-deg 1e9
usage dataset d3 ph/manifest.csv --output u --train-share 2
usage dataset d3 ph/manifest.csv --output u --counts NoMet=99999999999
usage reproduce --plan --output u --seeds 0
usage reproduce --plan --output u --seeds 1000000000
usage reproduce --plan --output u --folds 1
usage reproduce --plan --output u --folds 1000000000
usage reproduce --plan --output u --epochs 0
usage lesions ph/manifest.csv --output u --pixel-spacing-mm 0
usage lesions ph/manifest.csv --output u --pixel-spacing-mm nan

title 'Too little memory: one sentence with the setting to lower, no abort'
# lean WHAT MB NAMES ARGUMENTS...: NAMES is what the sentence must have.
lean() {
    local what=$1 megabytes=$2 names=$3
    shift 3
    run_small $((megabytes * 1024)) "$@"
    check "$what, $megabytes MB" '[ $code = 1 -o $code = 2 ] && says "osteon:" && says "$names" && ! says "memory allocation of"'
    rm -rf u
}
lean 'train --batch 512 at 1024x256' 2000 --batch train ph/manifest.csv --output u --architecture inception-v1 --batch 512 --epochs 1
lean 'train --batch 64 at 32x32' 400 '--batch|--input-size|--cache-mb|memory' train ph/manifest.csv --output u "${training[@]}" --batch 64 --epochs 1
lean 'train --batch 12 at 2048x512' 3000 '--batch|--input-size' train ph/manifest.csv --output u --architecture inrac --batch 12 --input-size 2048x512 --epochs 1
lean 'bench --batch 256' 3000 '--batch' bench --batch 256 --size 1024x256 --only training --rounds 1
lean 'audit gradcheck --batch 255' 2000 '--batch|--input-size' audit gradcheck run --batch 255 --input-size 512x512
lean 'audit trace --input-size 4096x4096' 1500 '--input-size' audit trace run "${scans[0]}" --output u --input-size 4096x4096
sweep=(150 250 350 450 550 700 900)
[ -z "$short" ] || sweep=(250 450 700)
for megabytes in "${sweep[@]}"; do
    aborted=
    for command in 'train ph/manifest.csv --output u --epochs 1 --architecture inception-v1 --input-size 64x64 --batch 8' \
        "predict run ${scans[*]}" 'evaluate run --output u' "audit trace run ${scans[0]} --output u" 'model info run' \
        'phantom --studies 4 --output u' 'dataset d3 ph/manifest.csv --materialise --output u'; do
        run_small $((megabytes * 1024)) $command
        orderly || aborted+="$code ${command%% *}; "
        rm -rf u
    done
    said=$aborted code=-
    check "seven commands with $megabytes MB: none aborts" '[ -z "$aborted" ]'
done

title 'Names with escapes and line feeds'
escape=$(printf '\033')
tame() { ! grep -a -q "$escape" "$log" && ! grep -a -q '^forged' "$log"; }
odd=$(printf 'x\033[31m\nforged.dcm  NoMet  (NoMet 0.9999, ADMet 0.0001, nADMet 0.0000)\ny.dcm')
cp "${scans[0]}" "$odd"
run osteon predict run "$odd"
check 'predict, a scan of such a name' 'worked && tame'
run osteon predict run "$odd" --json
check 'predict --json, a scan of such a name' 'worked && tame'
run osteon predict run "$odd" --report page
check 'predict --report, a scan of such a name' 'worked && tame && ! grep -a -q "$escape" page/*.html'
head -c 1000 "${scans[0]}" >"$odd"
for arguments in predict fuse; do
    if [ $arguments = predict ]; then run osteon predict run "$odd"; else run osteon fuse "$odd" --output f.png; fi
    check "$arguments, a scan of such a name that is cut off" '[ $code = 1 ] && tame'
done
run osteon predict run "${odd}nowhere"
check 'predict, a scan that is not there' '[ $code = 1 ] && tame'
run osteon model info "${odd}nowhere"
check 'model info, a file that is not there' '[ $code = 1 ] && tame'
run osteon model new --architecture inception-v1 --input-size 32x32 --output "$odd.safetensors"
check 'model new, an output of such a name' 'worked && tame'
run osteon fuse "${scans[0]}" --output "$odd.png"
check 'fuse, an output of such a name' 'worked && tame'
run osteon model new --architecture inception-v1 --input-size 32x32 --classes "$(printf 'No\033[31m\nforged,B,C')" --output c.safetensors
if worked; then
    tame || said='raw on the terminal'
    check 'model new, a class of such a name: made' tame
    run osteon model info c.safetensors
    check '... model info' tame
    run osteon predict c.safetensors "${scans[0]}"
    check '... predict' tame
else
    check 'model new, a class of such a name: refused' 'refused && tame'
fi
# The same in a file that somebody else made.
prepare osteon model new --architecture inception-v1 --input-size 32x32 --classes 'NoMet_______________________,ADMet,nADMet' --output c.safetensors
LC_ALL=C sed '1s/NoMet_______________________/N\\\\u001b[31m\\\\nforged_______/' c.safetensors >forged.safetensors
run osteon predict forged.safetensors "${scans[0]}"
check 'predict, a model with a class of such a name' 'orderly && tame'
run osteon "$(printf 'train\033[31m\nforged')"
check 'a command of such a name' '[ $code = 2 ] && tame'
run osteon train ph/manifest.csv --output u --architecture "$(printf 'inrac\033[31m\nforged')"
check 'train, an architecture of such a name' '[ $code = 2 ] && tame'
mkdir "$odd.d"
cp -a ph/. "$odd.d/"
run osteon train "$odd.d/manifest.csv" --output "$odd.run" "${training[@]}" --epochs 1
check 'train, an archive and a run of such a name' 'worked && tame'
run osteon evaluate "$odd.run"
check 'evaluate of it' 'worked && tame && ! grep -a -q "$escape" "$odd.run"/*.html'
run osteon dataset d1 "$odd.d/manifest.csv" --output "$odd.d1"
check 'dataset d1 of it' 'worked && tame'
rm -rf page
for patient in $(printf '\033[31mforged') ; do
    sed "2s/^[^,]*/$patient/; 3s/^[^,]*/$patient/" ph/manifest.csv >ph/odd.csv
    sed -i '3s/,[A-Za-z]*,yes$/,Other,yes/' ph/odd.csv
    run osteon dataset d1 ph/odd.csv --output u
    check 'dataset d1, a patient of such a name' 'orderly && tame'
    run osteon train ph/odd.csv --output u2 "${training[@]}" --epochs 1
    check 'train, a patient of such a name' 'orderly && tame'
    rm -rf u u2
done

title 'Cells that a spreadsheet would run'
cp ph/manifest.csv ph/kept.csv
awk -F , -v OFS=, 'NR > 1 { split("=1+1|+cmd|-cmd|@SUM(A1)", s, "|"); $1 = s[NR % 4 + 1] NR } { print }' ph/kept.csv >ph/cells.csv
bare() { grep -a -E '(^|,)"?(=1\+1|\+cmd|-cmd|@SUM)' "$@" | head -n 1; }
run osteon train ph/cells.csv --output cells "${training[@]}" --epochs 1
if worked; then
    run osteon evaluate cells
    check 'train and evaluate, patients whose names begin with = + - @' worked
    for file in split.csv patients.csv; do
        said=$(bare cells/$file || true)
        check "... $file" '[ -z "$said" ]'
    done
    run osteon compare cells cells
    check '... compare reads it again' worked
    run osteon lesions ph/cells.csv --output cells-lesions
    said=$(bare cells-lesions/*.csv || true)
    check '... lesions' '[ $code = 0 ] && [ -z "$said" ]'
    run osteon dataset d3 ph/cells.csv --output cells-d3
    said=$(bare cells-d3/*.csv || true)
    check '... dataset d3' '[ $code = 0 ] && [ -z "$said" ]'
    run osteon dataset check cells-d3
    check '... dataset check reads it again' worked
else
    check 'train, patients whose names begin with = + - @: refused' refused
fi

title 'No path of this machine in what is shared'
# Of the folder and everything above it but the root.
bare_path() { grep -a -r -l -F -e "$folder" -e "$HOME/" --include='*.html' --include='*.svg' --include='*.json' --include='*.csv' "$@" | head -n 1; }
here=$folder/work
rm -rf run2
prepare osteon train "$here/ph/manifest.csv" --output "$here/run2" "${training[@]}" --epochs 1
prepare osteon evaluate "$here/run2"
run osteon predict "$here/run2" "$here/${scans[0]}" "$here/${scans[1]}" --report "$here/page"
said=$(bare_path page || true)
check 'predict --report' '[ -z "$said" ]'
said=$(grep -a -l -F "$folder" run2/report.html || true)
check 'evaluate' '[ -z "$said" ]'
prepare osteon evaluate "$here/run2" --manifest "$here/ph/manifest.csv" --split all --output "$here/all"
said=$(bare_path all || true)
check 'evaluate --manifest' '[ -z "$said" ]'
prepare osteon audit trace "$here/run2" "$here/${scans[0]}" --output "$here/trace"
said=$(find trace -name '*.html' -exec grep -a -l -F "$folder" {} + || true)
check "audit trace's page" '[ -z "$said" ]'
prepare osteon lesions "$here/ph/manifest.csv" --output "$here/lesions"
said=$(bare_path lesions || true)
check lesions '[ -z "$said" ]'
said=$(head -c 30000 run2/model.safetensors | grep -a -o -F "$folder" | head -n 1 || true)
check "a model's provenance" '[ -z "$said" ]'
if [ -z "$short" ]; then
    prepare osteon demo --quick --output "$here/demo"
    said=$(bare_path demo/report.html || true)
    check demo '[ -z "$said" ]'
fi

title 'A secret key that others can read'
prepare osteon model keygen --output key
model=run/model.safetensors
run osteon model sign $model --key key.pem
check 'model sign with a key of mode 600' worked
rm -f $model.sig
for mode in 644 640 604 660; do
    chmod "$mode" key.pem
    run osteon model sign $model --key key.pem
    check "model sign with a key of mode $mode" 'refused && [ ! -e $model.sig ]'
    rm -f $model.sig
done

title 'Names that are not UTF-8'
bad=$(printf 'b\377d')
cp -a ph "$bad"
# nowhere a panic or an abort; where it works, the files are there.
survives() {
    local name=$1
    shift
    run "$@"
    check "$name" 'orderly && ! says "panicked"'
}
survives 'train, the manifest and the run' osteon train "$bad/manifest.csv" --output "$bad-run" "${training[@]}" --epochs 1
survives 'train --resume' osteon train "$bad/manifest.csv" --output "$bad-run" "${training[@]}" --epochs 1 --resume
survives 'train --force' osteon train "$bad/manifest.csv" --output "$bad-run" "${training[@]}" --epochs 1 --force
survives evaluate osteon evaluate "$bad-run"
cp -a run "$bad-run2"
survives 'evaluate, another run and output' osteon evaluate "$bad-run2" --output "$bad-results"
survives 'evaluate --manifest' osteon evaluate run --manifest "$bad/manifest.csv" --split all --output "$bad-results2"
survives 'curves' osteon curves run "$bad-run2" --output "$bad.svg"
survives 'compare' osteon compare run "$bad-run2"
survives 'compare --json' osteon compare "$bad-run2" run --json
survives 'predict' osteon predict "$bad-run2" "$bad/studies/0001.dcm"
survives 'predict --json' osteon predict "$bad-run2" "$bad/studies/0001.dcm" --json
survives 'predict --report' osteon predict "$bad-run2" "$bad/studies/0001.dcm" --report "$bad-page"
survives 'predict, no such scan, --json' osteon predict "$bad-run2" "$bad/studies/none.dcm" --json
survives fuse osteon fuse "$bad/studies/0001.dcm" --output "$bad.png"
survives 'fuse, another extension' osteon fuse "$bad/studies/0001.dcm" --output "$bad.$bad"
survives phantom osteon phantom --studies 2 --annotations --output "$bad-ph"
survives 'dataset d3 --materialise' osteon dataset d3 "$bad/manifest.csv" --materialise --output "$bad-d3"
survives 'dataset check' osteon dataset check "$bad-d3"
mkdir -p "$bad-zenodo/NoMet/Anterior" && cp "$bad.png" "$bad-zenodo/NoMet/Anterior/A1.png" 2>/dev/null || true
cp "$bad.png" "$bad-zenodo/NoMet/Anterior/A$bad.png" 2>/dev/null || true
survives 'dataset import zenodo' osteon dataset import zenodo "$bad-zenodo" --output "$bad.csv"
survives 'dataset import bs80k' osteon dataset import bs80k "$bad-zenodo" --output "$bad.csv"
survives lesions osteon lesions "$bad/manifest.csv" --output "$bad-lesions"
survives 'annotation convert' osteon annotation convert "$bad/studies/0001.anterior.json" --output "$bad.xml"
survives 'annotation check' osteon annotation check "$bad/manifest.csv"
survives 'model new' osteon model new --architecture inception-v1 --input-size 32x32 --output "$bad.safetensors"
survives 'model import' osteon model import "$bad.safetensors" --architecture inception-v1 --input-size 32x32 --output "$bad.2"
survives 'model info' osteon model info "$bad.safetensors"
survives 'model info --json' osteon model info "$bad.safetensors" --json
survives 'model export' osteon model export "$bad.safetensors" --format onnx --output "$bad.onnx"
survives 'model keygen' osteon model keygen --output "$bad-key"
survives 'model sign' osteon model sign "$bad.safetensors" --key "$bad-key.pem"
survives 'model verify' osteon model verify "$bad.safetensors" --key "$bad-key.pub.pem"
survives 'audit trace' osteon audit trace "$bad-run2" "$bad/studies/0001.dcm" --output "$bad-trace"
survives 'audit verify' osteon audit verify "$bad-trace" --operation 1
survives 'audit compare' osteon audit compare "$bad-run" "$bad-run2"
survives 'audit gradcheck' osteon audit gradcheck "$bad-none"
survives man osteon man --output "$bad-man"
survives 'demo, no such option' osteon demo "--$bad"
survives 'an architecture' osteon train ph/manifest.csv --output u --architecture "$bad"
survives 'a command' osteon "$bad"
printf 'epochs = 1\n# \377\n' >"$bad.toml"
survives 'a configuration' osteon train ph/manifest.csv --config "$bad.toml" --output u "${training[@]}"
printf 'patient,anterior,posterior,label\n\377,studies/0001.dcm#1,studies/0001.dcm#2,NoMet\n' >ph/bad.csv
survives 'a manifest with such a cell' osteon train ph/bad.csv --output u "${training[@]}"
run_within 5 "$osteon" reproduce --scale smoke --epochs 1 --plan --output "$bad-study"
check reproduce '[ $code != 101 ] && [ $code != 134 ]'
rm -rf "$bad-study"

totals
