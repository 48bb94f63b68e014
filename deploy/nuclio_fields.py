"""Nuclio's own fields, and what is wrong with a configuration or an overlay by them.

Nuclio drops keys that it does not know without a word, and some values of a wrong type fail only
when the function starts.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Union


@dataclass(frozen=True)
class Kind:
    """A value without keys; ``wanted`` ends the sentence about another one."""

    holds: Callable[[object], bool]
    wanted: str


@dataclass(frozen=True)
class Each:
    """Keys of any name, whose values are alike."""

    value: Schema


@dataclass(frozen=True)
class Items:
    """A list, whose items are alike."""

    item: Schema


Schema = Union[Kind, Each, Items, "dict[str, Schema]"]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_duration(value: object) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"(\d+(\.\d+)?(h|m|s|ms|us|ns))+", value))


def _is_quantity(value: object) -> bool:
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


TEXT = Kind(lambda value: isinstance(value, str), "a text")
WHOLE = Kind(_is_whole, "write a whole number, without quotes")
FLAG = Kind(lambda value: isinstance(value, bool), "write true or false")
DURATION = Kind(_is_duration, 'write a duration, such as "80s"')
QUANTITY = Kind(_is_quantity, 'write a number or a text, such as "8G"')
ANY_MAPPING = Kind(lambda value: isinstance(value, dict), "write keys with their values")
ANY_LIST = Kind(lambda value: isinstance(value, list), "write a list")

# The fields of Nuclio's structures of the same names, without those that only Nuclio writes.
METADATA: dict[str, Schema] = {
    "name": TEXT,
    "namespace": TEXT,
    "labels": Each(TEXT),
    "annotations": Each(TEXT),
}
DIRECTIVES = Items({"kind": TEXT, "value": TEXT})
BUILD: dict[str, Schema] = {
    "image": TEXT,
    "registry": TEXT,
    "baseImage": TEXT,
    "baseImageRegistry": TEXT,
    "onbuildImage": TEXT,
    "noBaseImagesPull": FLAG,
    "noCache": FLAG,
    "noCleanup": FLAG,
    "directives": {"preCopy": DIRECTIVES, "postCopy": DIRECTIVES},
    "offline": FLAG,
    "buildTimeoutSeconds": WHOLE,
    "args": Each(TEXT),
    "flags": Items(TEXT),
}
VARIABLE: dict[str, Schema] = {"name": TEXT, "value": TEXT}
TOLERATION: dict[str, Schema] = {
    "key": TEXT,
    "operator": TEXT,
    "value": TEXT,
    "effect": TEXT,
    "tolerationSeconds": WHOLE,
}
VOLUME: dict[str, Schema] = {
    "volume": {
        "name": TEXT,
        "hostPath": {"path": TEXT, "type": TEXT},
        "persistentVolumeClaim": {"claimName": TEXT, "readOnly": FLAG},
        "configMap": ANY_MAPPING,
        "csi": ANY_MAPPING,
        "emptyDir": ANY_MAPPING,
        "nfs": ANY_MAPPING,
        "secret": ANY_MAPPING,
    },
    "volumeMount": {"name": TEXT, "mountPath": TEXT, "readOnly": FLAG, "subPath": TEXT},
}
TRIGGER: dict[str, Schema] = {
    "kind": TEXT,
    "name": TEXT,
    "numWorkers": WHOLE,
    "workerAvailabilityTimeoutMilliseconds": WHOLE,
    "workerTerminationTimeout": DURATION,
    "annotations": Each(TEXT),
    "attributes": {
        "port": WHOLE,
        "serviceType": TEXT,
        "ingresses": ANY_MAPPING,
        "readBufferSize": WHOLE,
        "maxRequestBodySize": WHOLE,
        "reduceMemoryUsage": FLAG,
        "cors": ANY_MAPPING,
        "disablePortPublishing": FLAG,
    },
}
SPEC: dict[str, Schema] = {
    "description": TEXT,
    "disable": FLAG,
    "handler": TEXT,
    "runtime": TEXT,
    "env": Items(VARIABLE),
    "resources": {"limits": Each(QUANTITY), "requests": Each(QUANTITY)},
    "replicas": WHOLE,
    "minReplicas": WHOLE,
    "maxReplicas": WHOLE,
    "targetCPU": WHOLE,
    "triggers": Each(TRIGGER),
    "volumes": Items(VOLUME),
    "build": BUILD,
    "runRegistry": TEXT,
    "imagePullSecrets": TEXT,
    "imagePullPolicy": TEXT,
    "runtimeAttributes": ANY_MAPPING,
    "loggerSinks": Items({"level": TEXT, "sink": TEXT}),
    "platform": {
        "attributes": {
            "restartPolicy": {"name": TEXT, "maximumRetryCount": WHOLE},
            "network": TEXT,
        }
    },
    "readinessTimeoutSeconds": WHOLE,
    "waitReadinessTimeoutBeforeFailure": FLAG,
    "serviceType": TEXT,
    "serviceAccount": TEXT,
    "securityContext": ANY_MAPPING,
    "eventTimeout": DURATION,
    "affinity": ANY_MAPPING,
    "nodeSelector": Each(TEXT),
    "nodeName": TEXT,
    "tolerations": Items(TOLERATION),
    "priorityClassName": TEXT,
    "preemptionPolicy": TEXT,
    "deploymentStrategy": ANY_MAPPING,
    "hostIPC": FLAG,
    "customScalingMetricSpecs": ANY_LIST,
    "scaleToZero": {
        "scaleResources": Items({"metricName": TEXT, "windowSize": DURATION, "threshold": WHOLE})
    },
}
CONFIG: dict[str, Schema] = {"metadata": METADATA, "spec": SPEC}


def problems(
    value: Any, whole: str = "the configuration", schema: Schema = CONFIG, key: str = ""
) -> Iterator[str]:
    """Yield what is wrong with a configuration or with a part of one, one sentence each.

    Args:
        value: The configuration, an overlay, or a value in them.
        whole: What the configuration is called.
        schema: The fields of the value.
        key: The path of the value, such as ``spec.env``.
    """
    name = key or whole
    if value is None:
        yield f"{name} is empty: give it a value, or leave it out."
    elif schema is VARIABLE:
        yield from _variable_problems(name, value)
    elif schema is VOLUME and not _is_volume(value):
        yield (
            f"{name} is not a volume: write volume with its name, and volumeMount with its "
            "mountPath."
        )
    elif isinstance(schema, (dict, Each)):
        yield from _mapping_problems(name, value, schema, key)
    elif isinstance(schema, Items):
        if not isinstance(value, list):
            yield f"{name} is {_kind(value)}, not a list: begin each item with a hyphen."
            return
        for number, item in enumerate(value):
            yield from problems(item, whole, schema.item, f"{key}[{number}]")
    elif schema is TEXT or (schema is DURATION and not isinstance(value, str)):
        yield from _text_problems(name, value, "")
    elif not schema.holds(value):
        yield f"{name} is {_kind(value)}: {schema.wanted}."


def _mapping_problems(
    name: str, value: Any, schema: dict[str, Schema] | Each, key: str
) -> Iterator[str]:
    if not isinstance(value, dict):
        example = "" if key else ", such as spec:"
        yield f"{name} is {_kind(value)}: write keys with their values{example}."
        return
    for each, item in value.items():
        below = f"{key}.{each}" if key else str(each)
        if not isinstance(each, str):
            yield f"{below} is {_kind(each)}, not the name of a key: write it in quotes."
        elif isinstance(schema, Each):
            yield from problems(item, name, schema.value, below)
        elif each in schema:
            yield from problems(item, name, schema[each], below)
        else:
            alike = difflib.get_close_matches(each, schema, 1)
            other = f"write {alike[0]}, or " if alike else ""
            yield f"{below} is unknown to Nuclio, which would drop it: {other}leave it out."


def _variable_problems(name: str, variable: Any) -> Iterator[str]:
    fields = variable if isinstance(variable, dict) else {}
    if not isinstance(fields.get("name"), str) or not fields["name"]:
        yield f'{name} has no name: write - {{name: NAME, value: "VALUE"}}.'
        return
    name = f"{name}, {fields['name']},"
    if more := set(map(str, fields)) - {"name", "value"}:
        yield f"{name} has {sorted(more)[0]}: there are only name and value."
    elif fields.get("value") is None:
        yield f'{name} has no value: write value: "", or leave it out.'
    else:
        yield from _text_problems(f"the value of {name}", fields["value"], "value: ")


def _is_volume(volume: Any) -> bool:
    for part, field in (("volume", "name"), ("volumeMount", "mountPath")):
        found = volume.get(part) if isinstance(volume, dict) else None
        if not isinstance(found, dict) or not isinstance(found.get(field), str):
            return False
    return True


def _text_problems(name: str, value: Any, before: str) -> Iterator[str]:
    if isinstance(value, (dict, list)):
        yield f"{name} is {_kind(value)}, not a text."
    elif not isinstance(value, str):
        text = str(value).lower() if isinstance(value, bool) else value
        yield f'{name} is {_kind(value)}, not a text: write {before}"{text}".'


def _kind(value: Any) -> str:
    kinds: list[tuple[type, str]] = [
        (bool, "true or false"),
        (int, "a number"),
        (float, "a number with a fraction"),
        (str, "a text"),
        (dict, "a mapping"),
        (list, "a list"),
    ]
    return next((name for kind, name in kinds if isinstance(value, kind)), "a date or the like")
