#!/usr/bin/env bash
# Install the open solvers that are Debian packages: CSDP, SDPA, GLPK, CBC. Safe to run
# again.
set -euo pipefail

declare -A packages=(
    [csdp]=coinor-csdp [sdpa]=sdpa [glpsol]=glpk-utils [cbc]=coinor-cbc
)
missing=()
for program in "${!packages[@]}"; do
    command -v "$program" >/dev/null || missing+=("${packages[$program]}")
done
if ((${#missing[@]} == 0)); then
    echo "Solvers: already there (csdp, sdpa, glpsol, cbc)"
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "Solvers: this script needs apt (Debian, Ubuntu), which is not here." >&2
    echo "Install yourself: ${missing[*]}" >&2
    exit 1
fi
as_root=()
if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
        echo "Solvers: run as root, or install: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
"${as_root[@]}" apt-get update --quiet --quiet
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install \
    --quiet --quiet --yes --no-install-recommends "${missing[@]}" >/dev/null
echo "Solvers: installed ${missing[*]}"
