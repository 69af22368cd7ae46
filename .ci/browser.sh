# To be sourced: looks at pages of runs in a real browser. Leaves with status 77 where there is none.
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
[ -n "$browser" ] || { echo "there is no Chromium here"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# dom PAGE#WISH: the page as it is after its script ran, in $folder/dom.html; without what the run left in it.
dom() {
    timeout 120s "$browser" --headless --no-sandbox --disable-gpu --disable-background-networking --window-size=1600,900 \
        --user-data-dir="$folder/profile" --virtual-time-budget=10000 --dump-dom "file://$1" 2>"$folder/browser.log" \
        | sed 's/&quot;/"/g; s/&gt;/>/g; s/&lt;/</g; s/&amp;/\&/g' | grep -v '^<script id="run"' >"$folder/dom.html"
}

# demand PATTERN: it is on the page.
demand() {
    grep -Eq -- "$1" "$folder/dom.html" || {
        head -c 3000 "$folder/dom.html"
        printf '\nthe page lacks: %s\n' "$1"
        exit 1
    }
}

# attribute NAME: what the page's script left there.
attribute() {
    local from
    from=$(sed -nE "s/.*data-$1=\"(\{.*)/\1/p" "$folder/dom.html" | head -n 1)
    [ -z "$from" ] || printf '%s}\n' "${from%%\}\"*}"
}
