#!/bin/sh
# join.sh OUTPUT WORKDIR ARCHIVE...: one object of all the archives, whose hidden symbols are local,
# so that a program linked with OUTPUT meets the names of include/deja/ and no other.
set -eu
output=$1
folder=$2
shift 2
mkdir -p "$folder"
ld -r --whole-archive "$@" -o "$folder/deja.o"
objcopy --localize-hidden "$folder/deja.o"
rm -f "$output"
ar rcs "$output" "$folder/deja.o"
