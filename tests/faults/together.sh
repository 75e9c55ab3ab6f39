#!/usr/bin/env bash
# What lies together belongs together: runs that meet in one folder, files of one run in another's folder, results beside a model that
# did not make them, scans that change, the same bytes on both sides, and model files whose text was edited.
#
#   tests/faults/together.sh        needs target/release/osteon, or another program in $OSTEON; see common.sh
source "$(dirname "$0")/common.sh"

phantoms --studies 24 --seed 7 --output ph
phantoms --studies 24 --seed 8 --output ph8

title 'A run folder that is renamed while its training goes on'
# Runs A and B, alone.
a=(--architecture inception-v1 --input-size 64x32 --batch 4 --epochs 6 --seed 1 --split-seed 1)
b=(--architecture inception-v1 --input-size 32x32 --batch 4 --epochs 2 --seed 2 --split-seed 2)
prepare osteon train ph/manifest.csv --output alone-b "${b[@]}"
log=$folder/first begin "$osteon" train ph/manifest.csv --output run "${a[@]}"
await '[ -s run/model.safetensors ]'
cp run/split.csv split-a
mv run moved && mkdir run
run osteon train ph/manifest.csv --output run "${b[@]}"
second=$code second_said=$said
log=$folder/first ended 60
check 'the renamed run stopped with a sentence, or is whole where it went' \
    'if [ $code = 0 ]; then [ "$(tail -n 1 moved/metrics.csv | cut -d , -f 1)" = 6 ]; else [ $code = 1 ]; fi'
code=$second said=$second_said
# The second run's folder is as if it had been alone.
check 'the run that began at the old path has the bits of one that was alone' \
    'worked && cmp -s run/model.safetensors alone-b/model.safetensors && cmp -s run/split.csv alone-b/split.csv \
        && cmp -s <(cut -d , -f 1-6 run/metrics.csv) <(cut -d , -f 1-6 alone-b/metrics.csv)'
check "... and has its own split and settings" \
    'cmp -s moved/split.csv split-a && grep -q "^split_seed = 1" moved/config.toml && ! grep -q "^seed = 2" moved/config.toml'
run osteon audit compare run alone-b
check '... and its record is that of the run alone (audit compare)' worked
rm -rf moved run

title 'Files of one run in the folder of another'
prepare osteon train ph/manifest.csv --output one "${training[@]}" --epochs 1
prepare osteon train ph/manifest.csv --output two "${training[@]}" --epochs 1 --seed 2 --split-seed 2
prepare osteon train ph8/manifest.csv --output elsewhere "${training[@]}" --epochs 1
keep one
run osteon evaluate one --output fine
check 'evaluate of a run as it was trained' worked
prepare osteon evaluate two --output fine-two
# foreign WHAT FILE FROM
foreign() {
    restore one
    cp "$3" "one/$2"
    run osteon evaluate one --output foreign-results
    check "evaluate, $1" 'refused && [ ! -e foreign-results/scores.json ]'
    rm -rf foreign-results
    restore one
}
foreign 'the split of another run' split.csv two/split.csv
sed '2s/,train/,test/; 2t; 3s/,train/,test/' one/split.csv >split-edited
cmp -s one/split.csv split-edited && sed 's/,train/,test/' one/split.csv >split-edited
foreign 'a training patient that became a test patient' split.csv split-edited
foreign 'the settings of another run' config.toml two/config.toml
foreign 'the model of another run' model.safetensors two/model.safetensors
foreign 'the model of a run on other data' model.safetensors elsewhere/model.safetensors
foreign 'the record of another run' run.json two/run.json
cp ph/manifest.csv manifest-kept
awk -F , -v OFS=, 'NR > 1 { $4 = $4 == "NoMet" ? "ADMet" : "NoMet" } { print }' manifest-kept >ph/manifest.csv
run osteon evaluate one --output foreign-results
check 'evaluate, labels of the manifest changed since the training' 'refused && [ ! -e foreign-results/scores.json ]'
cp manifest-kept ph/manifest.csv
rm -rf foreign-results

title 'Results of an earlier epoch beside a later model'
for signal in TERM KILL; do
    rm -rf stopped
    begin "$osteon" train ph/manifest.csv --output stopped "${training[@]}" --epochs 8
    await '[ -s stopped/model.safetensors ]'
    kill -s "$signal" "$process"
    ended 10
    prepare osteon evaluate stopped
    cp -a stopped/patients.csv earlier.csv
    cp -a stopped/scores.json earlier.json
    run osteon train ph/manifest.csv --output stopped "${training[@]}" --epochs 8 --resume
    check "stopped by SIG$signal, evaluated, resumed to the end: the page of the earlier epoch is gone" \
        'worked && [ ! -e stopped/report.html ] && [ ! -e stopped/scores.json ]'
    run osteon compare stopped fine
    check '... and compare does not take it' refused
    # A copy of the whole folder from then, with the model of now.
    cp earlier.csv stopped/patients.csv
    cp earlier.json stopped/scores.json
    run osteon compare stopped fine
    check '... nor when they are put back' refused
    run osteon evaluate stopped $(force evaluate)
    check '... and evaluate makes new ones' 'worked && [ -s stopped/report.html ]'
    run osteon compare stopped fine
    check '... which compare takes' worked
done

title 'A model file that is replaced while it is used'
prepare osteon model new --architecture inception-v1 --input-size 256x64 --seed 1 --output first.safetensors
prepare osteon model new --architecture inception-v1 --input-size 256x64 --seed 2 --output second.safetensors
scans=(ph/studies/*.dcm)
cp first.safetensors used.safetensors
cp second.safetensors next.safetensors
begin "$osteon" --threads 1 predict used.safetensors "${scans[@]}" --report page
await '[ "$(grep -c "ph/studies" "$log")" -ge 2 ]' || true
mv next.safetensors used.safetensors
ended 60
check 'predict --report states the hash of the bytes that it used' \
    'worked && grep -q "$(hash_of first.safetensors | cut -c 1-12)" page/report.html && ! grep -q "$(hash_of second.safetensors | cut -c 1-12)" page/report.html'
restore one
cp one/model.safetensors model-kept
begin "$osteon" --threads 1 evaluate one --split all --output changed
sleep 0.3
cp two/model.safetensors next.safetensors
mv next.safetensors one/model.safetensors
ended 60
check 'evaluate states the hash of the bytes that it used, or refuses' \
    'if worked; then ! grep -q "$(hash_of two/model.safetensors | cut -c 1-12)" changed/report.html; else refused; fi'
restore one
rm -rf changed page

title 'A scan that is replaced during training'
# replaced WHAT HOW MB: HOW changes $scan, a training scan, which the run has read already.
scan=
replaced() {
    rm -rf ph-changing changing
    cp -a ph ph-changing
    scan=$(awk -F , '/train/ { print $1; exit }' one/split.csv)
    scan=ph-changing/studies/${scan##*-}.dcm
    begin "$osteon" train ph-changing/manifest.csv --output changing --architecture inception-v1 --input-size 64x32 --batch 4 --epochs 6 \
        --cache-mb "$3"
    await '[ -s changing/model.safetensors ]' || true
    eval "$2"
    ended 120
    check "$1 (--cache-mb $3): stops and says which" '[ $code = 1 ] && says "$(basename "$scan")"'
}
replaced "a training scan becomes another's" 'cp ph8/studies/0001.dcm new.dcm && mv new.dcm "$scan"' 0
replaced "a training scan is overwritten in place" 'cat ph8/studies/0001.dcm >"$scan"' 0
[ -n "$short" ] || replaced 'a training scan becomes larger' 'head -c 100 /dev/zero >>"$scan"' 0
replaced 'a training scan is gone' 'rm "$scan"' 0
rm -rf ph-changing changing

title 'The same bytes on both sides'
# A manifest that says who trains and who tests.
sides() {
    awk -F , -v OFS=, 'NR == 1 { print $0, "side" } NR > 1 { print $0, NR % 3 ? "train" : "test" }' manifest-kept >"$1/manifest.csv"
}
# both_sides WHAT MAKE: MAKE gives the test scan 0002.dcm the name copy.dcm.
both_sides() {
    rm -rf twins leaked
    cp -a ph twins
    sides twins
    local row
    row=$(awk -F , '/,test$/ { print; exit }' twins/manifest.csv)
    local original=${row#*,studies/}
    original=twins/studies/${original%%.dcm*}.dcm
    (eval "$2") || return 1
    awk -F , -v OFS=, -v row="$row" 'BEGIN { split(row, f, ",") }
        { print } END { f[1] = "phantom-copy"; f[2] = "studies/copy.dcm#1"; f[3] = "studies/copy.dcm#2"; f[6] = "train"; print f[1], f[2], f[3], f[4], f[5], f[6] }' \
        twins/manifest.csv >new-manifest
    mv new-manifest twins/manifest.csv
    run osteon train twins/manifest.csv --output leaked "${training[@]}" --epochs 1 ${3-}
    check "train ${3-}, $1 of a test scan among the training scans under another patient" 'refused && [ ! -e leaked/model.safetensors ]'
}
for flag in '' --trust-scans; do
    both_sides 'a copy' 'cp "$original" twins/studies/copy.dcm' $flag
    both_sides 'a hard link' 'ln "$original" twins/studies/copy.dcm' $flag
    both_sides 'a symlink' 'ln -s "$(basename "$original")" twins/studies/copy.dcm' $flag
done
# Without sides: every scan there twice, so that any split has some on both.
rm -rf twins leaked
cp -a ph twins
for scan in twins/studies/*.dcm; do cp "$scan" "${scan%.dcm}c.dcm"; done
awk 'NR == 1 { print; next } { print; gsub(/phantom-/, "copy-"); gsub(/\.dcm/, "c.dcm"); print }' manifest-kept >twins/manifest.csv
run osteon train twins/manifest.csv --output leaked "${training[@]}" --epochs 1 --trust-scans
check 'train, every scan copied under a second patient, a random split, nobody looks' 'refused && [ ! -e leaked/model.safetensors ]'
for flag in '' --materialise; do
    rm -rf d3
    run osteon dataset d3 twins/manifest.csv --output d3 --trust-scans $flag
    check "dataset d3 $flag of it: refused, and no manifest is left" 'refused && [ ! -e d3/manifest.csv ]'
done
# Where the scans are looked at, a patient and the copy are one person, on one side.
run osteon train twins/manifest.csv --output leaked "${training[@]}" --epochs 1
check 'train, the same, looked at: the copies are on their side' \
    'worked && awk -F , "NR > 1 { sub(/^(phantom|copy)-/, \"\", \$1); if (\$1 in side && side[\$1] != \$2) bad = 1; side[\$1] = \$2 } END { exit bad }" leaked/split.csv'

title 'Model files whose text was edited'
prepare osteon model new --architecture outrac --input-size 32x32 --output whole.safetensors
run osteon model info whole.safetensors
check 'a model as it was written' worked
# edited WHAT FROM TO: texts of one length.
edited() {
    local what=$1 from=$2 to=$3
    [ ${#from} = ${#to} ] || { echo "together.sh: $from and $to are not of one length" >&2 && exit 1; }
    LC_ALL=C sed "1s/$from/$to/" whole.safetensors >edited.safetensors
    if cmp -s whole.safetensors edited.safetensors; then
        code=- said="the file does not have $from"
        check "$what" false
        return
    fi
    run osteon model info edited.safetensors
    check "model info, $what" refused
    run osteon predict edited.safetensors ph/studies/0001.dcm
    check "predict, $what" refused
}
edited 'classes swapped' 'NoMet\\",\\"ADMet' 'ADMet\\",\\"NoMet'
edited 'a class renamed' 'nADMet' 'xADMet'
edited 'the architecture renamed' '"architecture":"outrac"' '"architecture":"inrac" '
edited 'a threshold changed' 'threshold\\":0.15' 'threshold\\":0.75'
edited 'a ceiling changed' 'ceiling\\":16.0' 'ceiling\\":99.0'
edited 'another compression' 'compression\\":\\"sqrt\\"' 'compression\\":\\"log\\" '
edited 'another input size' '"input_size":"32x32"' '"input_size":"64x64"'
edited 'another epsilon' 'epsilon\\":0.00001' 'epsilon\\":0.10001'
# As if it were of a version whose hash did not cover the text.
if head -c 20000 whole.safetensors | grep -a -q '"format_version":"2"'; then
    skip "an older version's number: this is the oldest with a hash"
else
    for version in 2 1; do
        LC_ALL=C sed -E "1s/\"format_version\":\"[0-9]\"/\"format_version\":\"$version\"/; 1s/NoMet\\\\\",\\\\\"ADMet/ADMet\\\\\",\\\\\"NoMet/" \
            whole.safetensors >edited.safetensors
        run osteon model info edited.safetensors
        check "model info, classes swapped and the version said to be $version" refused
    done
fi
prepare osteon train ph/manifest.csv --output trained "${training[@]}" --epochs 1
cp trained/model.safetensors whole.safetensors
# How many there are is the split's affair; a 0 with spaces before it is as long.
simulated=$(head -c 20000 whole.safetensors | grep -a -o -m 1 'simulated_studies\\":[1-9][0-9]*' | head -n 1 | sed 's/.*://')
edited 'phantoms said to be patients' 'simulated_studies\\":'"$simulated" 'simulated_studies\\":'"$(printf "%${#simulated}s" 0)"
edited 'a better test score' 'accuracy\\":0.' 'accuracy\\":1.'

totals
