#!/usr/bin/env bash
# What the scripts beside it share; they read it first. It gives them
#
#   * a folder of their own, removed at the end, and in it the current folder `work`;
#   * where the system allows it, a private view of the mounted file systems, so that a disk can be full without harm;
#   * `run`, `begin` and `ended`, which run a command and set `code` (its exit code) and `said` (the first line that it printed);
#   * `check`, which prints a line: ok or FAIL, what was tried, the exit code, what the program said.
#
#   OSTEON        the program; without it target/release/osteon
#   FAULTS_SHORT  1: fewer rounds, for CI
#   FAULTS_GO_ON  1: exit code 0 also where a check failed, to write down what a program did
set -euo pipefail

faults=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
osteon=$(realpath "${OSTEON:-$faults/../../target/release/osteon}")
export OSTEON=$osteon
short=${FAULTS_SHORT:-}
[ -x "$osteon" ] || {
    echo "$(basename "$0"): $osteon is not there; build it, or name another in OSTEON" >&2
    exit 1
}

# Again in a private view, as root or as the root of a view of users.
if [ -z "${FAULTS_VIEW:-}" ]; then
    for view in 'unshare --mount' 'unshare --map-root-user --mount'; do
        if $view true 2>/dev/null; then
            FAULTS_VIEW=private exec $view bash "$0" "$@"
        fi
    done
    export FAULTS_VIEW=none
fi

folder=$(mktemp -d)
log=$folder/log
process=
others=()
end() {
    local last=$?
    for process in $process ${others[@]+"${others[@]}"}; do
        kill -KILL "$process" 2>/dev/null || true
    done
    cd /
    umount -l "$folder/work/disk" 2>/dev/null || true
    chmod -R u+rwX "$folder" 2>/dev/null || true
    rm -rf "$folder"
    return "$last"
}
trap end EXIT
trap 'echo "$(basename "$0"): line $LINENO failed: $(head -c 2000 "$log" 2>/dev/null)" >&2' ERR
trap 'exit 1' INT TERM HUP
mkdir "$folder/work"
cd "$folder/work"

micros() { echo "${EPOCHREALTIME/./}"; }
# A number below the one given.
random() { echo $(((RANDOM * 32768 + RANDOM) % $1)); }
osteon() { "$osteon" "$@"; }
# `--force`, where the command has it that the arguments begin with.
force() {
    local word
    local -a words=()
    for word in "$@"; do
        case $word in -* | */* | *.*) break ;; esac
        words+=("$word")
    done
    if "$osteon" "${words[@]}" --help 2>/dev/null | grep -q -e '--force'; then echo --force; fi
}

# What the program said, without paths of this machine and on one line.
hear() {
    said=$(grep -a -m 1 -e '^osteon:' -e '^error:' "$log" || grep -a -m 1 . "$log" || true)
    said=${said//$folder\/work\//}
    said=$(LC_ALL=C tr -c '[:print:]' '?' <<<"$said" | cut -c 1-150)
    said=${said%\?}
}
# Runs a command to its end.
run() {
    code=0
    "$@" >"$log" 2>&1 </dev/null || code=$?
    hear
}
# The same, but killed when it takes longer than so many seconds.
run_within() {
    local seconds=$1
    shift
    begin "$@"
    ended "$seconds"
}
# A step of the preparation, which must work.
prepare() {
    "$@" >"$log" 2>&1 </dev/null || {
        echo "$(basename "$0"): the preparation failed: $* : $(head -c 2000 "$log")" >&2
        exit 1
    }
}
# Starts a program with every signal as at a terminal: a shell starts what is in the background with SIGINT ignored.
begin() {
    (
        trap - INT
        exec "$@"
    ) >"$log" 2>&1 </dev/null &
    process=$!
}
# Waits for it, at most so many seconds; then it is killed. Sets `took`, in milliseconds.
ended() {
    local start limit
    start=$(micros)
    limit=$((start + $1 * 1000000))
    while kill -0 "$process" 2>/dev/null && [ "$(micros)" -lt "$limit" ]; do
        sleep 0.01
    done
    took=$((($(micros) - start) / 1000))
    kill -KILL "$process" 2>/dev/null || true
    code=0
    wait "$process" 2>/dev/null || code=$?
    process=
    hear
} 2>/dev/null # the shell says there which process was killed
running() { kill -0 "$process" 2>/dev/null; }
# Waits until a condition holds, while the program runs and for at most two minutes.
await() {
    local limit=$(($(micros) + 120000000))
    until eval "$1"; do
        running && [ "$(micros)" -lt "$limit" ] || return 1
        sleep 0.005
    done
} 2>/dev/null

passed=0
failed=0
# check WHAT CONDITION: one line of the table.
check() {
    local line=FAIL
    if eval "$2"; then
        line=ok
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
    printf '%-4s  %-78s  %3s  %s\n' "$line" "$1" "${code:--}" "${said:-}"
}
skip() { printf 'skip  %s\n' "$*"; }
title() { printf '\n== %s\n' "$*"; }
totals() {
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ] || [ -n "${FAULTS_GO_ON:-}" ] || exit 1
    exit 0
}

# Conditions of `check`.
worked() { [ "$code" = 0 ]; }
# It ended by itself, with a sentence.
refused() { { [ "$code" = 1 ] || [ "$code" = 2 ]; } && says 'osteon:|error:'; }
says() { grep -a -q -E -e "$1" "$log"; }
# Neither a panic nor an abort nor a signal.
orderly() { [ "$code" -le 2 ]; }

# One hash of all that a file or folder holds, but for what is hidden because it is not whole yet.
tree() {
    [ -e "$1" ] || {
        echo nothing
        return
    }
    (
        if [ -d "$1" ]; then cd "$1"; set -- .; fi
        find "$1" \( -name '.osteon-*' -o -name .replacing \) -prune -o ! -type d -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum
    ) | sha256sum
}
declare -A trees=()
remember() {
    local path
    for path in "$@"; do trees[$path]=$(tree "$path"); done
}
unchanged() {
    local path
    for path in "$@"; do [ "$(tree "$path")" = "${trees[$path]}" ] || return 1; done
}
# Copies what is kept in $folder/kept back; `keep` puts it there.
keep() {
    mkdir -p "$folder/kept"
    cp -a "$@" "$folder/kept/"
}
restore() {
    local name
    for name in "$@"; do
        rm -rf "${name:?}"
        cp -a "$folder/kept/$name" "$name"
    done
}
# What is not whole, and not removed.
leftovers() { find "$1" \( -name '*.tmp' -o -name '.osteon-*' -o -name .replacing \) | head -3; }
hash_of() { sha256sum "$1" | cut -d ' ' -f 1; }

# A disk of so many megabytes, mounted as `disk`. Without the right to mount there is none, only a folder.
disk=
small_disk() {
    mkdir disk
    if [ "${FAULTS_VIEW:-}" = private ] && mount -t tmpfs -o "size=$1m" none disk 2>/dev/null; then
        disk=mounted
    else
        skip 'no disk can be mounted here: files that grow too large (ulimit -f) stand for a full disk'
    fi
}
# run_full KB COMMAND...: with so many kilobytes left on `disk`.
run_full() {
    local left=$1
    shift
    if [ -z "$disk" ]; then
        # Through a pipe: what it says is no file.
        code=0
        (
            ulimit -f "$left"
            "$@"
        ) 2>&1 </dev/null | cat >"$log" || code=$?
    else
        local free
        free=$(df --output=avail -k disk | tail -n 1)
        code=0
        [ "$free" -le "$left" ] || fallocate -l $(((free - left) * 1024)) disk/ballast
        "$@" >"$log" 2>&1 </dev/null || code=$?
        rm -f disk/ballast
    fi
    hear
}

# The files that most checks need.
training=(--architecture inception-v1 --input-size 32x32 --batch 4)
phantoms() { prepare osteon phantom --annotations "$@"; }
train() { osteon train "$@" "${training[@]}"; }
# A number as 8 bytes, the least first.
little_endian() {
    local number=$1 byte
    for byte in 1 2 3 4 5 6 7 8; do
        printf "\\x$(printf %02x $((number & 255)))"
        number=$((number >> 8))
    done
}
# tensors FILE [labels]: two images of 32x32 as safetensors, as `osteon audit forward` and `gradients` read them.
tensors() {
    local header='{"input":{"dtype":"F32","shape":[2,1,32,32],"data_offsets":[0,8192]}'
    [ "${2:-}" != labels ] || header+=',"labels":{"dtype":"I64","shape":[2],"data_offsets":[8192,8208]}'
    header+='}'
    while [ $((${#header} % 8)) != 0 ]; do header+=' '; done
    {
        little_endian ${#header}
        printf %s "$header"
        # 2048 times 0.0 or, in little-endian bytes, 0.5.
        for ((pixel = 0; pixel < 256; pixel++)); do printf '\0\0\0\0\0\0\0\x3f\0\0\0\0\0\0\0\x3f\0\0\0\0\0\0\0\x3f\0\0\0\0\0\0\0\0'; done
        [ "${2:-}" != labels ] || printf '\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0'
    } >"$1"
}
# run_small KB ARGUMENTS...: osteon with so many kilobytes of address space.
run_small() {
    code=0
    (
        ulimit -v "$1"
        shift
        exec "$osteon" "$@"
    ) >"$log" 2>&1 </dev/null || code=$?
    hear
} 2>/dev/null
