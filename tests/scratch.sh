# Read by the scripts beside it that kill one process again and again: `folder`, which goes at their end, and with it `process`, the one
# under way; `fail`, which says why the script stops.
folder=$(mktemp -d)
process=
finish() {
    [ -z "$process" ] || kill -KILL "$process" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}
