#!/usr/bin/env bash
# Unpacks the C and C++ headers of ONNX Runtime, which its pip package lacks, into DIR/include: those of Debian's
# package libonnxruntime-dev. Debian 12 has no such package and takes Debian 13's, from its own mirror. apt checks
# the signature; nothing is installed, and no root is needed.
set -euo pipefail
dir=${1:?usage: onnxruntime_headers.sh DIR}
mkdir -p "$dir"
work=$(mktemp -d -p "$(realpath "$dir")") # beside the result, so that it appears whole
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{sources,lists/partial,cache/archives/partial}
sed 's/bookworm/trixie/' /etc/apt/sources.list.d/debian.sources >"$work/sources/debian.sources"
options=(-qq -o Acquire::Retries=3 -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/sources"
  -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root)
apt-get "${options[@]}" update
(cd "$work" && apt-get "${options[@]}" download libonnxruntime-dev)
dpkg-deb --fsys-tarfile "$work"/*.deb | tar -x -C "$work" --strip-components=2 ./usr/include
mv "$work/include" "$dir/include"
