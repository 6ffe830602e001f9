#!/bin/sh
# Makes an image that holds nothing but a meshbed program and the shared libraries it needs, at the places where its loader
# looks for them: `meshbed builtin APP` in a container. No registry is asked for anything.
#
#   sh scenarios/containers/self.sh [PROGRAM [IMAGE [FOLDER]]]     target/release/meshbed, meshbed-self, target/containers/self
#
# The folder can be built from by itself, too (`build:`); with `-` as the image nothing else is made.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
program=${1:-$here/target/release/meshbed}
image=${2:-meshbed-self}
folder=${3:-$here/target/containers/self}
[ -x "$program" ] || { echo "self.sh: there is no program $program: build it, or name another" >&2; exit 3; }

new=$folder.new.$$
trap 'rm -rf "$new"' EXIT
mkdir -p "$new/root"
# Symbols are most of a program's size; what has no `strip` is copied as it is.
strip -s -o "$new/root/meshbed" "$program" 2>/dev/null || cp "$program" "$new/root/meshbed"
chmod 755 "$new/root/meshbed"
# `ldd` of a static program says so and names no file.
for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*' | sort -u); do
    mkdir -p "$new/root$(dirname "$library")"
    cp -L "$library" "$new/root$library"
done
cat >"$new/Dockerfile" <<'END'
FROM scratch
COPY root/ /
ENTRYPOINT ["/meshbed"]
END
rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
mv "$new" "$folder"
[ "$image" = - ] || docker build -q -t "$image" "$folder" >/dev/null
echo "$image $folder"
