#!/usr/bin/env bash
# Builds CVAT's page with the plugin in it; see README.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<'TEXT'
usage: build.sh [--image | --bundle | --remove] CVAT VERSION

  CVAT      folder of a checkout of CVAT's source
  VERSION   the version that is checked out there, such as 2.15.0; it names the image

  --image   build the image cvat/ui:VERSION-c3det with docker (the default)
  --bundle  build cvat-ui/dist with yarn, on this machine
  --remove  take the plugin out of the checkout again
TEXT
}

fail() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 2
}

what=image
case ${1:-} in
    --image | --bundle | --remove)
        what=${1#--}
        shift
        ;;
    -h | --help)
        usage
        exit
        ;;
esac
if [[ $# -ne 2 || $1 == -* || $2 == -* ]]; then
    usage >&2
    exit 2
fi
[[ -d $1 ]] || fail "there is no folder $1."
cvat=$(cd "$1" && pwd)
version=$2
[[ -f $cvat/cvat-ui/webpack.config.js && -f $cvat/Dockerfile.ui ]] ||
    fail "$cvat is not a checkout of CVAT's source: it has no cvat-ui/webpack.config.js or no Dockerfile.ui."
target=$cvat/cvat-ui/plugins/c3det

if [[ $what == remove ]]; then
    rm -rf "$target"
    echo "The plugin is out of $cvat. Build the page again, or go back to the image cvat/ui:$version."
    exit
fi

# VERSION = (2, 15, 0, 'final', 0) or '2.15.0'
found=$(sed -nE "s/^VERSION *= *\(([0-9]+), *([0-9]+), *([0-9]+).*/\1.\2.\3/p; s/^(VERSION|__version__) *= *[\"']([0-9.]+).*/\2/p" \
    "$cvat/cvat/__init__.py" | head -n 1)
[[ $found == "${version#v}" ]] ||
    fail "$cvat holds version ${found:-unknown}, not $version: check out the version that your server runs."
grep -q CLIENT_PLUGINS "$cvat/cvat-ui/webpack.config.js" ||
    fail "CVAT $version takes no plugins: its cvat-ui/webpack.config.js does not read CLIENT_PLUGINS."
ls "$cvat"/cvat-ui/src/actions/annotation-actions.ts* >/dev/null 2>&1 ||
    fail "CVAT $version is not known to this plugin: it has no cvat-ui/src/actions/annotation-actions.ts."

rm -rf "$target"
mkdir -p "$target"
cp -R "$here/src" "$target/"
echo "The plugin is in $target."

plugins=plugins/c3det${CLIENT_PLUGINS:+:$CLIENT_PLUGINS}
cd "$cvat"
if [[ $what == image ]]; then
    command -v docker >/dev/null || fail "docker is not here: install it, or take --bundle."
    image=cvat/ui:$version-c3det
    docker build -f Dockerfile.ui --build-arg CLIENT_PLUGINS="$plugins" -t "$image" .
    cat <<TEXT

The image $image is built. Put it to use as README.md says ("Put it to use").
To undo: go back to the image cvat/ui:$version, and run
    "$here/build.sh" --remove "$cvat" $version
TEXT
else
    command -v yarn >/dev/null || fail "yarn is not here: npm install --global yarn@1.22.22"
    [[ -d node_modules ]] || DISABLE_HUSKY=1 yarn --frozen-lockfile
    CLIENT_PLUGINS=$plugins yarn run build:cvat-ui
    cat <<TEXT

The page is in $cvat/cvat-ui/dist: let a web server give out these files in place of the old ones.
To undo: put the old files back, and run
    "$here/build.sh" --remove "$cvat" $version
TEXT
fi
