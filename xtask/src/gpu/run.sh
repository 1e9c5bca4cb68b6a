#!/bin/sh
# Runs the GPU tests or benchmarks of this folder: ./run.sh test | bench [options of the benchmark]
# Needs an NVIDIA driver and nothing else. Without a GPU the tests and rows say why they are skipped; with
# ASSAY_REQUIRE_GPU=1 that is a failure.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# What the programs are told of this machine comes from here alone.
export ASSAY_HOME="$here" ASSAY_ORT_DYLIB="$here/ort/libonnxruntime.so" ASSAY_TEST_DATA="$here/data"
what=${1:-}
[ $# -gt 0 ] && shift
case "$what" in
test)
    # To the program a filter that fits no test is a success.
    if ! "$here/bin/gpu-tests" gpu:: --list | grep -q ': test$'; then
        echo "run.sh: gpu-tests has no test whose name has gpu::" >&2
        exit 1
    fi
    exec "$here/bin/gpu-tests" gpu:: --nocapture --test-threads 1 "$@"
    ;;
bench) exec "$here/bin/host" --json --guests "$here/guests" --models "$here/models" --only gpu --only decode "$@" ;;
*)
    echo "usage: run.sh test | bench [options]" >&2
    exit 2
    ;;
esac
