#!/usr/bin/env bash
# Every kind of page, in a browser: axe-core finds nothing (WCAG 2.1 A and AA, and its best practices), in the light, in the dark and on a
# phone; nothing is fetched, nothing scrolls sideways but tables, which do so by keyboard; pictures open large and close by keyboard;
# nothing is cut on A4. The PNG of a figure looks as its SVG. What is looked at stands in pages.mjs.
#
#   tests/pages.sh DEMO STUDY     the folders of `osteon demo` and `osteon reproduce`; further pages are made from the demo's run
#
# Needs target/release/osteon, or another program in $OSTEON; Node.js, npm and Chromium, which it installs where it is root on Debian; and the
# network for axe-core and puppeteer-core, which go into a temporary folder.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
osteon=${OSTEON:-$here/../target/release/osteon}
source "$here/scratch.sh"
[ $# = 2 ] || fail "give the folders of \`osteon demo\` and of \`osteon reproduce\`"
demo=$(realpath "$1") study=$(realpath "$2")

browser() { command -v "${CHROMIUM:-chromium}" || command -v chromium-browser || command -v google-chrome; }
missing=()
# One package may bring both node and npm, and then Debian's npm conflicts with it.
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
browser >/dev/null || missing+=(chromium)
if [ ${#missing[@]} -gt 0 ]; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "needs ${missing[*]} (Chromium may have its path in \$CHROMIUM)"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"; } \
        >"$folder/log" 2>&1 || fail "cannot install ${missing[*]}: $(tail -n 3 "$folder/log")"
fi
npm install --prefix "$folder" --no-audit --no-fund --ignore-scripts axe-core@4 puppeteer-core@24 >"$folder/log" 2>&1 ||
    fail "axe-core and puppeteer-core cannot be installed: $(tail -n 3 "$folder/log")"

scans=("$demo"/phantoms/studies/*.dcm)
"$osteon" predict "$demo/run" "${scans[@]:0:3}" "$here/pages.sh" --report "$folder/predict" >"$folder/log" 2>&1 || [ $? = 1 ] || fail "$(cat "$folder/log")"
for make in "evaluate $demo/run --unaugmented --localise --output $folder/evaluate" \
    "audit trace $demo/run ${scans[0]} --pictures --output $folder/trace"; do
    "$osteon" $make >"$folder/log" 2>&1 || fail "osteon $make: $(cat "$folder/log")"
done
cp "$here/pages.mjs" "$folder/"
figures=("$folder"/evaluate/*.svg "$study"/figures/*.svg)
CHROMIUM=$(browser) node "$folder/pages.mjs" "$folder/profile" "$here/../src/draw/font" "${figures[@]}" \
    "$demo/report.html" "$study/index.html" "$folder/predict/report.html" "$folder/evaluate/report.html" "$folder/trace/index.html"
