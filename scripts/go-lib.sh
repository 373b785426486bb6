# Building a program once from its Go module into the cache folder; source it after lib.sh.
# The module is built as what it is, a main module, so that its own go.mod and go.sum pin every dependency; a checksum pins the module.

newer_or_same() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# want_go VERSION PROGRAM VARIABLE
want_go() {
    local hint="install Go $1 or newer (Debian's \`golang\` is older), or name a \`$2\` in $3"
    have go >/dev/null || stop "there is no \`go\`, which builds $2" "$hint"
    local found
    found="$(go env GOVERSION)"
    newer_or_same "$1" "${found#go}" || stop "\`go\` is ${found#go}, too old for $2" "$hint"
}

# go_source MODULE VERSION CHECKSUM: fetches it into `$go_work/source`. The module and build caches there are of use for nothing else:
# `go_done` removes them when the build has succeeded.
go_source() {
    go_work="$slipway_cache/tools-go"
    export GOMODCACHE="$go_work/modules" GOCACHE="$go_work/build" GOFLAGS="-modcacherw -buildvcs=false" GOWORK=off
    mkdir -p "$go_work"
    local module
    module="$(cd "$go_work" && go mod download -json "$1@v$2")"
    grep -qF "\"Sum\": \"$3\"" <<<"$module" || stop "the module $1 of version $2 is not the one that was pinned" "expected $3; $module"
    rm -rf "$go_work/source"
    cp -R "$GOMODCACHE/$1@v$2" "$go_work/source"
}

go_done() { rm -rf "$go_work"; }
