#!/usr/bin/env bash
# Deploys a function into the CVAT that runs on this machine with Docker, after checking that what it
# needs is there.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

usage() {
    cat <<'END'
Usage: deploy/deploy.sh [options]

  --gpu            on an NVIDIA GPU
  --closed         the closed model, of the classes that it was trained on, not the open one, which
                   finds any label's objects by the clicks alone
  --detector       with --closed: the detector of automatic annotation, not the interactor; it starts
                   from the interactor's image
  --weights FILE   other weights than the shipped ones, with their card beside them; from inside this
                   folder they come with the image, from elsewhere their folder is mounted
  --class CLASS    with --closed: answer CVAT's own requests with this class alone
  --name NAME      of the function; the default is made of weights and class, and a function that is
                   there under its name is replaced
  --overlay FILE   change the function's configuration, see deploy/README.md; repeatable
  --dry-run        check, and print what would be done

Says what is missing in one sentence each. On Kubernetes see deploy/README.md.
END
}

network=cvat_cvat # of CVAT's docker-compose.yml
gpu=
detector=
dry_run=
options=()
while (($#)); do
    case $1 in
        --gpu) gpu=1 options+=("$1") ;;
        --closed) options+=("$1") ;;
        --detector) detector=1 options+=("$1") ;;
        --dry-run) dry_run=1 ;;
        --weights | --class | --name | --overlay)
            (($# > 1)) || { echo "deploy: $1 needs a value." >&2 && exit 2; }
            options+=("$1" "$2")
            shift
            ;;
        -h | --help) usage && exit ;;
        *) echo "deploy: unknown option $1; --help lists them." >&2 && exit 2 ;;
    esac
    shift
done

missing=0
say_missing() {
    printf 'deploy: %s\n' "$*" >&2
    missing=1
}

find_python() {
    local candidate
    for candidate in "$project/.venv/bin/python" python3; do
        if "$candidate" -c 'import sys, yaml; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

version_in() {
    grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1
}

check_docker() {
    if ! command -v docker >/dev/null; then
        say_missing "docker is missing: install Docker Engine."
        return
    fi
    if ! docker info >/dev/null 2>&1; then
        say_missing "The Docker engine does not answer: start it, or let this user use it (group docker)."
        return
    fi
    docker network inspect "$network" >/dev/null 2>&1 ||
        say_missing "There is no Docker network $network: start CVAT with docker compose."
    dashboard=$(docker ps --format '{{.Image}}' | grep -m 1 nuclio/dashboard || true)
    [[ -n $dashboard ]] ||
        say_missing "Nuclio's dashboard does not run: start CVAT with components/serverless/docker-compose.serverless.yml too."
    if [[ -n $gpu ]]; then
        docker info --format '{{json .Runtimes}}' | grep -q nvidia ||
            say_missing "Docker has no NVIDIA runtime: install the NVIDIA Container Toolkit and run nvidia-ctk runtime configure."
    fi
}

check_nuclio() {
    if ! command -v nuctl >/dev/null; then
        say_missing "nuctl is missing: install the release of Nuclio's dashboard${dashboard:+ ($dashboard)}."
        return
    fi
    [[ -n $dashboard ]] || return 0
    local ours theirs
    ours=$(nuctl version 2>/dev/null | version_in || true)
    theirs=$(version_in <<<"$dashboard" || true)
    if [[ $ours != "$theirs" && -n $theirs ]]; then
        say_missing "nuctl is version ${ours:-unknown} and Nuclio's dashboard $theirs: install nuctl $theirs."
    fi
    nuctl get project cvat --platform local >/dev/null 2>&1 ||
        say_missing "Nuclio has no project cvat: nuctl create project cvat --platform local"
}

# Into a folder of its own: Nuclio copies all of it into the image.
write_function() {
    local problems sentence
    if ! python=$(find_python); then
        say_missing "Python 3.9 or later with PyYAML is missing: install it (Debian: apt-get install python3-yaml)."
    elif ! problems=$("$python" "$project/deploy/write_function.py" "${options[@]}" --out "$folder" 2>&1); then
        while IFS= read -r sentence; do
            say_missing "$sentence"
        done <<<"$problems"
    fi
}

check_base_image() {
    local image
    image=$(sed -n 's/^ *baseImage: *//p' "$function")
    [[ -z $image ]] || docker image inspect "$image" >/dev/null 2>&1 ||
        say_missing "The detector starts from the image $image: deploy the interactor first (the same command without --detector, --weights and --name)."
}

run() {
    printf '+'
    printf ' %q' "$@"
    printf '\n'
    [[ -n $dry_run ]] || "$@"
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
function=$folder/function.yaml
dashboard=
check_docker
check_nuclio
write_function
[[ -z $detector || ! -f $function ]] || check_base_image
if ((missing)) && [[ -z $dry_run ]]; then
    exit 1
fi

if [[ -n $dry_run && -f $function ]]; then
    printf '# %s\n' "$function"
    cat "$function"
fi
run nuctl deploy --project-name cvat --path "$folder" --file "$function" --platform local \
    --platform-config "{\"attributes\": {\"network\": \"$network\"}}"
run nuctl get function --platform local
exit "$missing"
