"""Calls of the function about a frame: through CVAT, at its own address, or in this process.

All three use the form of the plugin, see `serverless.protocol`.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import nuclio_sdk
import urllib3

from c3det.clicks import Click, LabelledBox
from c3det.weights import WeightsError
from serverless.annotate.cvat import TIMEOUT_S, RefusedError, Target, first_line
from serverless.annotate.errors import AnnotateError, FrameError, Retry, TransientError
from serverless.deployment import FUNCTION, DeploymentError, described_classes
from serverless.nuclio_worker import FunctionError, NuclioWorker
from serverless.protocol import (
    AnswerError,
    Box,
    CarriedExemplars,
    ExemplarsAnswer,
    PluginAnswer,
    RequestError,
    exemplar_prompts,
    plugin_prompts,
    with_picture,
)
from serverless.settings import ServingSettings

Answer = TypeVar("Answer", PluginAnswer, ExemplarsAnswer)


class Function(ABC):
    """A function that finds the objects of a frame.

    Attributes:
        name: What it is, for people.
        classes: Names of its classes, in the order of their indices; none for an open model, whose
            classes are those of the caller.
    """

    name: str
    classes: tuple[str, ...]

    @abstractmethod
    def send(self, frame: int, prompts: Mapping[str, Any]) -> bytes:
        """Send ``prompts`` with the picture of a frame; return the body of the answer.

        Raises:
            FrameError: This frame was refused.
            TransientError: The function does not answer, in spite of several attempts.
        """

    def detect(
        self,
        frame: int,
        clicks: Sequence[Click],
        threshold: float | None,
        exemplars: CarriedExemplars | None = None,
    ) -> PluginAnswer:
        """Return the objects of a frame, from a search of the whole picture.

        Clicks are in pixels. Without a threshold the weights' own one counts.

        Raises:
            FrameError: This frame was refused, or the function comes no further in it.
            TransientError: The function does not answer, in spite of several attempts.
            AnnotateError: It is not this project's.
        """
        prompts = plugin_prompts(clicks, threshold, exemplars)
        return self._send_until_done(frame, prompts, PluginAnswer.read)

    def exemplars(
        self, frame: int, clicks: Sequence[Click], boxes: Sequence[LabelledBox]
    ) -> ExemplarsAnswer:
        """Return the exemplars of a frame, at most `serverless.protocol.MOST_EXEMPLARS`.

        Clicks and boxes are in pixels. Errors are those of `detect`.
        """
        prompts = exemplar_prompts(clicks, boxes)
        try:
            return self._send_until_done(frame, prompts, ExemplarsAnswer.read)
        except RequestError as error:
            raise FrameError(error.message) from error

    def _send_until_done(
        self, frame: int, prompts: Mapping[str, Any], read: Callable[[Any], Answer]
    ) -> Answer:
        """Send the same request again, as long as the function says that more is to be done.

        It stops at its time budget, and goes on there at the next request.
        """
        done = -1.0
        while True:
            try:
                answer = read(json.loads(self.send(frame, prompts)))
            except ValueError:
                raise AnnotateError(
                    f"{self.name} does not answer with JSON: it is another function"
                ) from None
            except AnswerError as error:
                raise AnnotateError(f"{self.name} is another function: {error}") from None
            progress = answer.progress
            if progress is None or progress >= 1:
                return answer
            if progress <= done:
                raise FrameError(
                    f"{self.name} does {progress:.0%} of the work for this picture and no more: "
                    "raise its C3DET_TIME_BUDGET_SECONDS or C3DET_CACHE_BYTES"
                )
            done = progress


def checked_boxes(answer: PluginAnswer, classes: Sequence[str], function: str) -> list[Box]:
    """Return the boxes of an answer of the function of this name.

    Raises:
        FrameError: The answer is an error.
        AnnotateError: The function does not have these classes.
    """
    if answer.error is not None:
        raise FrameError(answer.error.message)
    for box in answer.boxes:
        index, name = box.label, box.name
        if index is None or index >= len(classes) or name not in (None, classes[index]):
            raise AnnotateError(
                f"{function} has other classes than expected: its class {index} is {name!r}; name "
                "the function.yaml that belongs to it with --function-yaml"
            )
    return list(answer.boxes)


class FunctionOfCvat(Function):
    """The function that a CVAT server calls, by its name in Nuclio.

    Raises:
        AnnotateError: The server has no such interactor.
    """

    def __init__(self, target: Target, name: str) -> None:
        self.name = f"the function {name} of {target.server.host}"
        self._target = target
        self._path = f"/api/lambda/functions/{name}"
        functions = target.server.get_json("/api/lambda/functions")
        interactors = {f["id"]: f for f in functions if f["kind"] == "interactor"}
        if name not in interactors:
            raise AnnotateError(
                f"{target.server.host} has no interactor {name!r}, it has "
                f"{', '.join(sorted(interactors)) or 'none'}: name one with --function"
            )
        self.classes = tuple(label["name"] for label in interactors[name]["labels_v2"])

    def send(self, frame: int, prompts: Mapping[str, Any]) -> bytes:
        """Send the frame's number: the server has the picture."""
        target = self._target
        body = {target.kind: target.id, "frame": frame, **prompts}
        server = target.server
        try:
            return server.retry.call(lambda: server.send("POST", self._path, body=body))
        except RefusedError as error:
            raise FrameError(str(error)) from error


class FunctionAtAddress(Function):
    """A function at its own address, such as one of Nuclio or of ``serverless.local``.

    Its ``function.yaml`` lists the classes; ``picture`` fetches the file of a frame.

    Raises:
        AnnotateError: The ``function.yaml`` cannot be read, or the address is none.
    """

    def __init__(
        self, url: str, function_yaml: Path, picture: Callable[[int], bytes], retry: Retry
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise AnnotateError(f"--url {url}: the address must have http:// or https:// in front")
        try:
            is_address = urllib3.util.parse_url(url).host is not None
        except urllib3.exceptions.LocationParseError:
            is_address = False
        if not is_address:
            raise AnnotateError(f"--url {url} is no address: write http://HOST:PORT")
        self.name = f"the function at {url}"
        self.classes = function_classes(function_yaml)
        self._url = url
        self._picture = picture
        self._retry = retry
        self._http = urllib3.PoolManager(retries=False, timeout=TIMEOUT_S)

    def send(self, frame: int, prompts: Mapping[str, Any]) -> bytes:
        """Send the frame's picture."""
        body = json.dumps(with_picture(self._picture(frame), prompts)).encode()
        return self._retry.call(lambda: self._post(body))

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        try:
            answer = self._http.request("POST", self._url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(str(error)) from error
        if answer.status >= 500:
            raise TransientError(f"status {answer.status}")
        if answer.status >= 400:
            raise FrameError(_refusal(answer.status, answer.data))
        return answer.data


class FunctionInProcess(Function):
    """The function in this process, without a server.

    ``picture`` fetches the file of a frame. Without weights the environment names them.

    Raises:
        AnnotateError: The weights cannot be used.
    """

    def __init__(self, picture: Callable[[int], bytes], weights: Path | None) -> None:
        logger = nuclio_sdk.Logger("ERROR", name="serverless.annotate")
        instead = {} if weights is None else {"weights": weights}
        try:
            self._worker = NuclioWorker.load(FUNCTION, logger)
            self._worker.start(ServingSettings.from_environment(os.environ, **instead))
        except (FunctionError, WeightsError, ValueError) as error:
            raise AnnotateError(str(error)) from error
        predictor = self._worker.context.user_data.predictor
        self.name = f"the model {predictor.card.name}"
        self.classes = tuple(predictor.classes)
        self._picture = picture

    def send(self, frame: int, prompts: Mapping[str, Any]) -> bytes:
        """Send the frame's picture."""
        body = json.dumps(with_picture(self._picture(frame), prompts)).encode()
        answer = self._worker.post(body)
        if answer.status != 200:
            raise FrameError(f"the model failed with {_refusal(answer.status, answer.body)}")
        return answer.body


def _refusal(status: int, body: bytes) -> str:
    text = first_line(body.decode("utf-8", "replace"))
    return f"status {status}: {text}" if text else f"status {status}"


def function_classes(function_yaml: Path) -> tuple[str, ...]:
    """Return the names of the classes that a ``function.yaml`` lists.

    Raises:
        AnnotateError: They cannot be read.
    """
    if not function_yaml.exists():
        raise AnnotateError(
            f"--function-yaml {function_yaml} is missing: name a file that is there"
        )
    try:
        classes = described_classes(function_yaml)
    except DeploymentError as error:
        raise AnnotateError(f"{function_yaml} is no readable function.yaml: {error}") from error
    if classes is None:
        raise AnnotateError(
            f"{function_yaml} is no readable function.yaml: it has no metadata.annotations.spec"
        )
    return tuple(classes)
