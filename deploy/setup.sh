#!/usr/bin/env bash
# All set-up for `make demo`, `make test` and a service, on Debian, Ubuntu and macOS; a second run finds its stamps and is
# done at once.
#
# Use: deploy/setup.sh demo     virtual environment and packages; nothing outside this folder is touched
#      deploy/setup.sh install  the same, readable by the user of a service (docs/operations.md)
#      deploy/setup.sh test     also the tools of the tests and, on Debian and Ubuntu as root, the servers they need
#
# PYTHON=python3.12 chooses the interpreter. What cannot be had is said, and the tests that need it skip with the reason.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
goal=${1:-demo}
case $goal in demo | install | test) ;; *) echo "use: deploy/setup.sh demo|install|test" >&2; exit 2 ;; esac
[ "$goal" = install ] && umask 022

TORCH=2.13.0
CPU_WHEELS=https://download.pytorch.org/whl/cpu # PyTorch's own index of builds without CUDA
venv=.venv
python=$venv/bin/python
log=$venv/setup.log

say() { printf 'set-up: %s\n' "$*"; }
fail() { printf 'set-up: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
has_gpu() { has nvidia-smi && nvidia-smi -L >/dev/null 2>&1; }
is_debian_root() { has apt-get && [ "$(id -u)" = 0 ]; }

apt_updated=
apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    if [ -z "$apt_updated" ]; then
        apt-get -qq update >/dev/null 2>&1 || say "apt-get update failed, going on with the lists that are here"
        apt_updated=1
    fi
    apt-get -qq install -y --no-install-recommends "$@" >/dev/null 2>&1
}

# --- Python -----------------------------------------------------------------------------------------------------------

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer found; install one (Debian 12, Ubuntu 24.04: apt-get install python3; macOS: brew install python)"
}

make_venv() {
    [ -x $python ] && $python -m pip --version >/dev/null 2>&1 && return
    local base version
    base=$(find_python)
    version=$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if ! "$base" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        is_debian_root || fail "$base has no venv module; run: sudo apt-get install python$version-venv"
        say "python$version-venv by apt"
        apt_install "python$version-venv" || apt_install python3-venv || fail "apt-get install python$version-venv failed; run it by hand"
    fi
    say "virtual environment $venv with Python $version"
    "$base" -m venv --clear $venv || fail "cannot make $venv; is the disk full or the folder read-only?"
}

pip_install() {
    $python -m pip install --quiet --disable-pip-version-check --no-input "$@" >>"$log" 2>&1
}

# Does plain pip bring NVIDIA's libraries along? Then the build without them saves some 4 GB on a machine without a GPU.
wants_cuda() {
    local report=$venv/torch-report.json
    $python -m pip install --quiet --disable-pip-version-check --dry-run --report $report "$1" >>"$log" 2>&1 || return 0
    $python - $report <<'PY'
import json
import sys

names = [item["metadata"]["name"].lower().replace("_", "-") for item in json.load(open(sys.argv[1]))["install"]]
sys.exit(not any(name.startswith(("nvidia-", "cuda-")) for name in names))
PY
}

install_torch() {
    local have wanted="torch==$TORCH"
    have=$($python -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null || true)
    if [ "${have%%+*}" != $TORCH ]; then
        if [ "$(uname -s)" = Linux ] && ! has_gpu && wants_cuda "$wanted"; then
            say "torch $TORCH for the CPU (some 200 MB)"
            pip_install --no-deps --index-url $CPU_WHEELS "$wanted" || say "$CPU_WHEELS does not answer: taking the larger build with CUDA"
        else
            say "torch $TORCH"
        fi
        pip_install "$wanted" || fail "cannot install $wanted for $($python --version) on $(uname -sm); $log says why; PYTHON=python3.12 chooses another"
    fi
    $python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' >$venv/constraints.txt
}

install_packages() {
    local extras engine=cpu stamp=$venv/stamp-$goal sum
    has_gpu && engine=gpu
    extras=$engine
    [ "$goal" = test ] && extras=cpu,test,train && [ $engine = gpu ] && extras=cpu,gpu,test,train
    sum="$(cat pyproject.toml deploy/setup.sh | cksum) $extras $PWD"
    [ -x $python ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ] && return
    make_venv
    : >"$log"
    install_torch
    say "packages [$extras] (a few minutes the first time)"
    pip_install --constraint $venv/constraints.txt --editable ".[$extras]" || fail "pip failed: $(grep -m 1 -o 'ERROR.*' "$log" || echo 'no reason given'); all of it in $log"
    printf '%s' "$sum" >"$stamp"
}

# --- servers that the tests talk to -----------------------------------------------------------------------------------

# program:package; the program is what the tests look for
SERVERS="Orthanc:orthanc storescu:dcmtk dciodvfy:dicom3tools redis-server:redis-server pg_ctl:postgresql chromium:chromium pdftotext:poppler-utils
    ip:iproute2 node:nodejs npm:npm"

is_there() {
    case $1 in
    storescu) [ -x /usr/bin/storescu ] ;; # not pynetdicom's program of the same name
    pg_ctl) has pg_ctl || compgen -G '/usr/lib/postgresql/*/bin/pg_ctl' >/dev/null ;;
    chromium) has chromium || has google-chrome || [ -d "/Applications/Google Chrome.app" ] ;;
    *) has "$1" ;;
    esac
}

missing_servers() {
    local pair
    for pair in $SERVERS; do
        is_there "${pair%%:*}" || printf '%s ' "${pair##*:}"
    done
}

# Debian starts a daemon when its package is installed, unless policy-rc.d answers 101. One that is already there stays.
without_daemons() {
    local policy=/usr/sbin/policy-rc.d
    if [ -e $policy ]; then "$@"; return; fi
    trap "rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    "$@"
    rm -f $policy
    trap - EXIT
}

install_each() {
    apt_install "$@" && return
    local package
    for package in "$@"; do
        apt_install "$package" || say "$package: not to be had from this machine's package sources"
    done
}

install_servers() {
    local missing tried=$venv/stamp-servers
    missing=$(missing_servers)
    if [ -n "$missing" ] && is_debian_root && [ "$(cat $tried 2>/dev/null)" != "$missing" ]; then
        case $missing in *orthanc*) missing="$missing orthanc-dicomweb orthanc-gdcm" ;; esac
        say "servers for the tests by apt: $missing"
        # shellcheck disable=SC2086  # a list of names
        without_daemons install_each $missing
        missing=$(missing_servers)
        printf '%s' "$missing" >$tried
    fi
    [ -z "$missing" ] && return
    say "not on this machine, their tests skip: $missing"
    if has apt-get && ! is_debian_root; then say "to have them: sudo apt-get install --no-install-recommends $missing"; fi
}

install_fhir_server() {
    local source=tests/peers/fhir target=.peers/fhir sum
    [ -f $source/package.json ] || return 0
    has node && has npm || { say "no Node.js with npm: the tests with a FHIR server skip"; return 0; }
    if ! node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)'; then
        say "Node.js $(node --version) is older than 20.19: the tests with a FHIR server skip"
        return 0
    fi
    sum=$(cksum <$source/package.json)
    [ "$(cat $target/stamp 2>/dev/null)" = "$sum" ] && return
    say "Node packages of the FHIR test server"
    mkdir -p $target
    cp $source/package.json $target/
    if (cd $target && npm install --no-audit --no-fund --no-package-lock --loglevel=error >npm.log 2>&1); then
        printf '%s' "$sum" >$target/stamp
    else
        say "npm install failed ($target/npm.log): the tests with a FHIR server skip"
    fi
}

# The viewer is used as its package has it: static files, no build. Its tests need a browser, too.
install_ohif() {
    local target=.peers/ohif package=@ohif/app@3.13.2
    has chromium && has npm || { say "no Chromium or no npm: the tests with the OHIF viewer skip"; return 0; }
    [ "$(cat $target/stamp 2>/dev/null)" = "$package" ] && return
    say "OHIF viewer (50 MB)"
    rm -rf $target
    mkdir -p $target
    if (cd $target && npm pack --loglevel=error "$package" >npm.log 2>&1 && tar xzf ./*.tgz && rm ./*.tgz); then
        find $target -name '*.map' -delete
        printf '%s' "$package" >$target/stamp
    else
        say "npm pack failed ($target/npm.log): the tests with the OHIF viewer skip"
    fi
}

# The broker that comes as a package is built for Linux only.
look_for_broker() {
    [ "$(uname -s)" = Linux ] || has valkey-server || has redis-server ||
        say "no valkey-server or redis-server on this machine, which \`dentgate up\` starts: brew install valkey"
}

install_packages
look_for_broker
if [ "$goal" = test ]; then
    install_servers
    install_fhir_server
    install_ohif
fi
