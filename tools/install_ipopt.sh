#!/usr/bin/env bash
# Install Ipopt for Pyomo without conda: the library from Debian, cyipopt from PyPI,
# and Pyomo's ASL interface compiled against both. Safe to run again.
#
# usage: tools/install_ipopt.sh [PYTHON]     (default: python3)
set -euo pipefail

python=${1:-python3}

works() {
    "$python" - <<'PY' >/dev/null 2>&1
import pyomo.environ as pyo
model = pyo.ConcreteModel()
model.x = pyo.Var(initialize=1.0)
model.o = pyo.Objective(expr=(model.x - 2.0) ** 2)
pyo.SolverFactory("cyipopt").solve(model)
assert abs(model.x.value - 2.0) < 1e-6
PY
}

if works; then
    echo "Ipopt: already there (cyipopt solves a problem)"
    exit 0
fi

packages=(
    coinor-libipopt-dev libamplsolver-dev liblapack-dev libblas-dev gfortran
    cmake g++ pkg-config
)
missing=()
for package in "${packages[@]}"; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null |
        grep -q "install ok installed" || missing+=("$package")
done
if ((${#missing[@]})); then
    if ! command -v apt-get >/dev/null; then
        echo "Ipopt: this script needs apt (Debian, Ubuntu), which is not here." >&2
        echo "Install Ipopt yourself, for example: conda install -c conda-forge cyipopt" >&2
        exit 1
    fi
    as_root=()
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            echo "Ipopt: run as root, or install: apt-get install ${missing[*]}" >&2
            exit 1
        fi
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get update --quiet --quiet
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install \
        --quiet --quiet --yes --no-install-recommends "${missing[@]}" >/dev/null
fi

"$python" -m pip install --quiet cyipopt packaging setuptools
asl=$(dpkg -L libamplsolver-dev | grep '/libamplsolver\.a$')
"$python" -m pyomo.contrib.pynumero.build \
    -DASL_INCLUDE_DIR=/usr/include/ampl-netlib-solvers \
    -DASL_LIBRARY="$asl" >/dev/null

if ! works; then
    echo "Ipopt: installed, but cyipopt does not solve a problem from Pyomo." >&2
    exit 1
fi
echo "Ipopt: installed (cyipopt solves a problem)"
