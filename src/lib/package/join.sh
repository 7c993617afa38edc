#!/bin/sh
# join.sh ARCHIVE OUTPUT WORKDIR: one object of all of ARCHIVE, whose hidden symbols are local, so
# that a program linked with OUTPUT meets the names of include/deja/ and no other.
set -eu
mkdir -p "$3"
ld -r --whole-archive "$1" -o "$3/deja.o"
objcopy --localize-hidden "$3/deja.o"
rm -f "$2"
ar rcs "$2" "$3/deja.o"
