#!/usr/bin/env bash
# Everything that a GPU has to prove, in one call and one table: an environment of its own, `a2d doctor`, the golden cases and
# the slate reader's frames through every GPU engine that this machine supports (tokens equal?), then time per step against the
# time to read the weights once, and Python's share.
#
#   benchmarks/gpu.sh [arguments of benchmarks/gpu.py]     e.g. benchmarks/gpu.sh --precisions fp32,fp16
#
# Needs an NVIDIA driver, Python 3.11 or newer, a few GB of disk and the network (pip). Everything is below build/gpu.
# Exit status: 0 all tokens equal; 1 something differs or failed; 77 there is no GPU engine that this machine can use.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
TORCH=${TORCH:-torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu} # exports; nothing of it runs on the GPU
HOME_OF_IT=build/gpu
BIN=$HOME_OF_IT/venv/bin
export OMP_NUM_THREADS=1 PIP_DISABLE_PIP_VERSION_CHECK=1

if [ ! -x "$BIN/a2d" ]; then
  echo "gpu.sh: installing a2d into $HOME_OF_IT/venv"
  "$PYTHON" -m venv --system-site-packages "$HOME_OF_IT/venv" # a Jetson's TensorRT belongs to the system
  "$BIN/python" -m pip install --quiet --editable .
fi

# What fits is known before gigabytes are fetched.
"$BIN/a2d" doctor
extras=$("$BIN/python" benchmarks/gpu.py --extras) || exit $?
marker=$HOME_OF_IT/installed
if [ "$(cat "$marker" 2>/dev/null)" != "$extras" ]; then
  echo "gpu.sh: installing $extras and what exports need"
  # shellcheck disable=SC2086 # TORCH is a list of arguments
  "$BIN/python" -m pip install --quiet $TORCH
  "$BIN/python" -m pip install --quiet --editable ".[$extras,export]"
  "$BIN/python" -m pip uninstall --quiet --yes onnxruntime # the two packages overwrite each other
  "$BIN/python" -m pip install --quiet "onnxruntime-gpu[cuda,cudnn]" || "$BIN/python" -m pip install --quiet onnxruntime
  echo "$extras" >"$marker"
  "$BIN/a2d" doctor
fi
exec "$BIN/python" benchmarks/gpu.py --folder "$HOME_OF_IT/bundles" "$@"
