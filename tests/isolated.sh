#!/usr/bin/env bash
# Runs a command in a network namespace of its own that holds nothing but a loopback, and says so in DENTGATE_ISOLATED=1.
#
# Why: Orthanc and dcmtk listen on every interface and cannot be told otherwise; in here nothing gets in or out.
# Where no namespace can be made (macOS, a locked-down container) the command runs plainly, without the variable, and the
# tests that need such a server skip with that reason.
#
# Use: tests/isolated.sh COMMAND [ARGUMENT...]
set -euo pipefail
[ $# -gt 0 ] || { echo "use: tests/isolated.sh COMMAND [ARGUMENT...]" >&2; exit 2; }

loopback='ip link set lo up && exec "$@"'
user=$(id -u) group=$(id -g)

run_as_root() { unshare --net -- sh -c "$loopback" sh "$@"; }

# Root inside the outer namespace raises the loopback, the inner one gives the name back: PostgreSQL refuses to be root.
run_as_user() {
    unshare --user --map-root-user --net -- sh -c "$loopback" sh \
        unshare --user --map-user="$user" --map-group="$group" -- "$@"
}

way=
if command -v unshare >/dev/null && command -v ip >/dev/null; then
    if [ "$user" = 0 ] && run_as_root true 2>/dev/null; then
        way=run_as_root
    elif [ "$user" != 0 ] && run_as_user true 2>/dev/null; then
        way=run_as_user
    fi
fi
if [ -n "$way" ]; then
    export DENTGATE_ISOLATED=1
    "$way" "$@"
else
    echo "no network namespace on this machine: tests of servers that listen on every interface are skipped" >&2
    unset DENTGATE_ISOLATED
    exec "$@"
fi
