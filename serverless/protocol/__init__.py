"""The wire between the function and its callers, in both directions.

Three forms. The *plugin* form is that of CVAT's plugin, of the page and of the helper for whole
jobs: clicks of several labels in, boxes out. CVAT passes nothing but pairs of numbers, so the label
of each click travels in ``neg_points``, behind the header ``[-1, 1]`` (-1, then the version of the
protocol): one pair ``[class, sign]`` per point of ``pos_points``, so that the pair of
``pos_points[k]`` is ``neg_points[k + 1]``. The sign is 1 for an object, 0 for "no object here". The
class is a position in the function's list of classes, ``spec``. An *open* function has none
(``spec`` is ``[]``), and the class is a position in the caller's own list of labels: 0 to
`LARGEST_LABEL`, with gaps or without, at most `MOST_LABELS` different ones a request. To an open
function a positive click that is repeated, with the very same point and class, says "not this box":
once more, and the next likeliest box under it is meant, twice more, and the one after; after the
last one it is the first again. All of them are answered by that box. Functions of before, and
closed ones, take them for one click.

Version 2 carries *exemplars*: what an open model took under clicks and boxes of other pictures. The
function stores none of them. The caller asks once for those of a picture (`ExemplarsRequest`),
keeps the answer (`ExemplarsAnswer`), and sends what it wants of it with later requests
(`CarriedExemplars`); the answer to these is that of version 1. A function that was deployed before
version 2 answers both with the error ``unsupported``. A vector means something to the model alone:
callers pack its bytes into numbers, six each (`packed`).

An exemplar of the shipped weights has 1170 numbers, 1172 bytes, and takes 100 pairs, 3.5 KB of
JSON. Measured on one core: KB of the JSON of a request, and milliseconds to write it, to parse it
and to check it (the times with a tenth fewer numbers)::

    exemplars                       none         1        30       256
    without a picture         KB       0         4       104       885
                              ms       0       0.2       5.8        52
    with a picture of 2 MB    KB    2667      2670      2771      3552
                              ms        11        10        22        61

Without a header the request is a *built-in* one, of CVAT's own panel: plain clicks without labels.
The *detector* has an address of its own: a picture without clicks. Keys that a form does not know
are ignored.

The answer of the plugin form is ``{"c3det": 1, "boxes": [...], "error": null or {...}, "model",
"threshold", "timings_ms", "cache": "hit" or "miss", "coverage": 0 to 1, "progress": 0 to 1,
"notes": [...]}``; see `PluginAnswer` and `Box`. It has neither ``mask`` nor ``shapes``, so that
every version of CVAT passes it on untouched, and its errors travel with status 200, because CVAT
keeps no other body. The built-in form carries ``mask``, ``bounds`` and ``points`` of one object for
CVAT 2.15 to 2025, and ``shapes`` of all objects for CVAT 2026, so that one answer serves every
version. The detector's answer is a list of rectangles.

``tests/protocol`` has examples of all, which the tests of the page and of the plugin read too. A
new field is added there, in `serverless.protocol.requests` or `serverless.protocol.answers`, in the
plugin's ``protocol.ts`` and, where the page needs it, in its ``protocol.js``.
"""

from serverless.protocol.answers import (
    Box,
    BuiltInAnswer,
    ExemplarsAnswer,
    Mask,
    PluginAnswer,
    Rival,
    detector_body,
)
from serverless.protocol.common import (
    DIGEST_DIGITS,
    EXEMPLARS_VERSION,
    LARGEST_LABEL,
    MOST_EXEMPLARS,
    MOST_LABELS,
    PROTOCOL_VERSION,
    AnswerError,
    Bounds,
    EncodedExemplar,
    Form,
    Point,
    RequestError,
)
from serverless.protocol.requests import (
    AnyRequest,
    BuiltInRequest,
    CarriedExemplars,
    DetectorRequest,
    ExemplarsRequest,
    PluginRequest,
    check_inside,
    check_weights,
    exemplar_prompts,
    form_of,
    packed,
    parse_body,
    plugin_prompts,
    read_built_in_request,
    read_detector_request,
    read_exemplars_request,
    read_plugin_request,
    with_picture,
)

__all__ = [
    "DIGEST_DIGITS",
    "EXEMPLARS_VERSION",
    "LARGEST_LABEL",
    "MOST_EXEMPLARS",
    "MOST_LABELS",
    "PROTOCOL_VERSION",
    "AnswerError",
    "AnyRequest",
    "Bounds",
    "Box",
    "BuiltInAnswer",
    "BuiltInRequest",
    "CarriedExemplars",
    "DetectorRequest",
    "EncodedExemplar",
    "ExemplarsAnswer",
    "ExemplarsRequest",
    "Form",
    "Mask",
    "PluginAnswer",
    "PluginRequest",
    "Point",
    "RequestError",
    "Rival",
    "check_inside",
    "check_weights",
    "detector_body",
    "exemplar_prompts",
    "form_of",
    "packed",
    "parse_body",
    "plugin_prompts",
    "read_built_in_request",
    "read_detector_request",
    "read_exemplars_request",
    "read_plugin_request",
    "with_picture",
]
