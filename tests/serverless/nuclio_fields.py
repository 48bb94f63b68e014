"""Nuclio's own fields, to check function files against: it drops unknown keys without a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def text(value: object) -> bool:
    return isinstance(value, str)


def flag(value: object) -> bool:
    return isinstance(value, bool)


def texts(value: object) -> bool:
    return isinstance(value, dict) and all(map(text, value)) and all(map(text, value.values()))


def mapping(value: object) -> bool:
    return isinstance(value, dict)


def sequence(value: object) -> bool:
    return isinstance(value, list)


Fields = dict[str, Callable[[object], bool]]

# The fields of Nuclio's structures of the same names.
CONFIG: Fields = {"metadata": mapping, "spec": mapping}
METADATA: Fields = {"name": text, "namespace": text, "labels": texts, "annotations": texts}
SPEC: Fields = {
    "description": text,
    "disable": flag,
    "handler": text,
    "runtime": text,
    "env": sequence,
    "resources": mapping,
    "replicas": whole,
    "minReplicas": whole,
    "maxReplicas": whole,
    "triggers": mapping,
    "volumes": sequence,
    "build": mapping,
    "runtimeAttributes": mapping,
    "loggerSinks": sequence,
    "platform": mapping,
    "readinessTimeoutSeconds": whole,
    "securityContext": mapping,
    "eventTimeout": text,
    "affinity": mapping,
    "nodeSelector": texts,
    "nodeName": text,
    "tolerations": sequence,
    "priorityClassName": text,
    "scaleToZero": mapping,
}
BUILD: Fields = {
    "image": text,
    "registry": text,
    "baseImage": text,
    "noBaseImagesPull": flag,
    "noCache": flag,
    "directives": mapping,
    "offline": flag,
    "buildTimeoutSeconds": whole,
    "args": texts,
    "flags": sequence,
}
DIRECTIVE: Fields = {"kind": text, "value": text}
VARIABLE: Fields = {"name": text, "value": text}
# Of Kubernetes, but of the volumes only what this project has.
TOLERATION: Fields = {"key": text, "operator": text, "value": text, "effect": text}
VOLUME: Fields = {"volume": mapping, "volumeMount": mapping}
VOLUME_SOURCE: Fields = {"name": text, "hostPath": mapping, "persistentVolumeClaim": mapping}
HOST_PATH: Fields = {"path": text, "type": text}
CLAIM: Fields = {"claimName": text, "readOnly": flag}
VOLUME_MOUNT: Fields = {"name": text, "mountPath": text, "readOnly": flag, "subPath": text}
TRIGGER: Fields = {
    "kind": text,
    "name": text,
    "numWorkers": whole,
    "workerAvailabilityTimeoutMilliseconds": whole,
    "workerTerminationTimeout": text,
    "annotations": texts,
    "attributes": mapping,
}
HTTP_ATTRIBUTES: Fields = {
    "port": whole,
    "serviceType": text,
    "readBufferSize": whole,
    "maxRequestBodySize": whole,
    "reduceMemoryUsage": flag,
    "cors": mapping,
    "disablePortPublishing": flag,
}
RESOURCES: Fields = {"limits": mapping, "requests": mapping}
PLATFORM: Fields = {"attributes": mapping}
PLATFORM_ATTRIBUTES: Fields = {"restartPolicy": mapping, "network": text}
RESTART_POLICY: Fields = {"name": text, "maximumRetryCount": whole}


def wrong(values: dict[str, Any], fields: Fields) -> list[str]:
    """The keys of ``values`` that Nuclio does not know or whose type it refuses."""
    return [key for key, value in values.items() if key not in fields or not fields[key](value)]


def wrong_in_function(config: dict[str, Any]) -> list[str]:
    """The keys of a whole function file that Nuclio does not know or whose type it refuses."""
    spec = config["spec"]
    build, attributes = spec["build"], spec["platform"]["attributes"]
    directives = build.get("directives", {})
    found = [
        *wrong(config, CONFIG),
        *wrong(config["metadata"], METADATA),
        *wrong(spec, SPEC),
        *wrong(spec.get("resources", {}), RESOURCES),
        *wrong(build, BUILD),
        *wrong(directives, {"preCopy": sequence, "postCopy": sequence}),
        *wrong(spec["platform"], PLATFORM),
        *wrong(attributes, PLATFORM_ATTRIBUTES),
        *wrong(attributes["restartPolicy"], RESTART_POLICY),
    ]
    for each in (each for kind in directives.values() for each in kind):
        found += wrong(each, DIRECTIVE)
    for each in spec["env"]:
        found += wrong(each, VARIABLE)
    for each in spec.get("tolerations", []):
        found += wrong(each, TOLERATION)
    for each in spec.get("volumes", []):
        found += wrong(each, VOLUME)
        found += wrong(each["volume"], VOLUME_SOURCE)
        found += wrong(each["volume"].get("hostPath", {}), HOST_PATH)
        found += wrong(each["volume"].get("persistentVolumeClaim", {}), CLAIM)
        found += wrong(each["volumeMount"], VOLUME_MOUNT)
    for each in spec["triggers"].values():
        found += wrong(each, TRIGGER)
        found += wrong(each["attributes"], HTTP_ATTRIBUTES)
    return found
