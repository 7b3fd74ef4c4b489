#!/usr/bin/env bash
# The network that comes with the package, from nothing: bash benchmarks/train_lite.sh OUT ZIP...
#
# ZIPs hold images/ and masks/; those of val.zip are to validate on. Needs the extra train. Six hours on two
# CPU cores; stop it with Ctrl-C, and the same command goes on where it was. Every stage starts from the
# best epoch of the one before. bgremove/assets/lite.md says how far each stage was run for the file shipped.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 OUT ZIP..." >&2
    exit 2
fi
out=$1
shift

[ -d "$out/pairs" ] || bgremove data zip "$@" -o "$out/pairs"

stage() { # NAME START SETTINGS...: one training, or the rest of it; START is a stage's name, or nothing
    local name=$1 start=$2
    shift 2
    [ -e "$out/$name.done" ] && return
    local from=()
    [ -n "$start" ] && from=(--pretrained "$(best "$start")")
    [ -e "$out/$name/checkpoints/last.ckpt" ] && from=(--resume)
    bgremove train --data "$out/pairs" -o "$out/$name" "${from[@]}" --network lite --batch-size 24 \
        --size 256 --optimizer muon --weight-decay 0.02 --devices 2 "$@"
    touch "$out/$name.done"
}

best() { echo "$out/$1/checkpoints/best.ckpt"; }

stage first "" --epochs 32 --start-size 96 --lr 0.005 --zoom 1.35 --grey 0.08
stage second first --epochs 14 --start-size 192 --lr 0.0022 --warmup 0.01 --grey 0.15
stage third second --epochs 18 --start-size 160 --lr 0.0025 --warmup 0.02 --zoom 2.5 --grey 0.12 \
    --colour 1.2 --swap 0.35 --fill 0.35
stage fourth third --epochs 3 --lr 0.0007 --warmup 0.05

bgremove export "$(best fourth)" -o "$out/lite.onnx" --size 256 --again 224 --sharpness 2 --colours 0.7 --closer 0.5 \
    --int8 --data "$out/pairs" --samples 400 \
    --note "Apache-2.0; see bgremove/assets/lite.md"
