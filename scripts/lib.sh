# Shared by the scripts of this folder; source it, do not run it.
# Invariant: nothing is changed before everything that is missing has been named, and nothing that is there is touched.

set -euo pipefail

slipway_cache="${XDG_CACHE_HOME:-$HOME/.cache}/slipway"

say() { printf '%s\n' "$*"; }

# stop WHAT HINT
stop() {
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

missing_packages=()
missing_reasons=()

# want PACKAGE WHY COMMAND...: asks for a Debian package unless the command succeeds.
want() {
    local package="$1" why="$2"
    shift 2
    if ! "$@" >/dev/null 2>&1; then
        missing_packages+=("$package")
        missing_reasons+=("$why")
    fi
}

have() { command -v "$1"; }

# install_wanted WHO: says what is missing and installs it; without root, or without apt, it only says it and stops.
install_wanted() {
    local who="$1" index
    if [ "${#missing_packages[@]}" = 0 ]; then
        say "$who: everything is there"
        return
    fi
    say "$who: missing Debian packages:"
    for index in "${!missing_packages[@]}"; do
        printf '  %-18s %s\n' "${missing_packages[$index]}" "${missing_reasons[$index]}"
    done
    if ! have apt-get >/dev/null; then
        stop "this machine has no \`apt-get\`" "install the programs above with your own package manager, then run this again"
    fi
    if ! is_root; then
        stop "only root can install packages; nothing was changed" \
            "run as root: apt-get install --no-install-recommends ${missing_packages[*]}"
    fi
    say "$who: installing with apt-get"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install --yes -qq --no-install-recommends "${missing_packages[@]}" >/dev/null
    say "$who: installed ${missing_packages[*]}"
}
