#!/bin/sh
# Runs rustc so that a crate compiles to the same bytes wherever it lies.
#
# Cargo names a crate that comes from a folder outside the workspace by that folder's absolute path, and the name
# ends up in the order and the identity of everything the crate defines. Here its package and version name it
# instead. Panic messages carry the paths of sources; they become paths inside a package.
#
# Flags would do the second part too, but cargo would build everything anew, `std` included, whenever they change.

rustc=$1
shift

name=${CARGO_PKG_NAME:-}
case ${CARGO_MANIFEST_DIR:-} in
    '' | */registry/src/* | */rustlib/src/*) in_place= ;; # named by registry and version already, or by the compiler
    *) in_place=yes ;;
esac

if [ -n "$in_place" ] && [ -n "$name" ]; then
    left=$#
    while [ "$left" -gt 0 ]; do
        argument=$1
        shift
        case $argument in
            metadata=*) argument="metadata=$name-$CARGO_PKG_VERSION" ;;
        esac
        set -- "$@" "$argument"
        left=$((left - 1))
    done
fi

if [ -n "$name" ]; then
    set -- "$@" --remap-path-prefix "$ASSAY_GUEST_CACHE=/target"
    set -- "$@" --remap-path-prefix "$CARGO_MANIFEST_DIR=/$name-$CARGO_PKG_VERSION"
fi

exec "$rustc" "$@"
