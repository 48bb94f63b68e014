"""Asking the function about a frame: through CVAT, at its own address, or the model in process.

The form of the plugin is used in all three, see `serverless.protocol`.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import nuclio_sdk
import urllib3
import yaml

from c3det.clicks import Click, LabelledBox
from serverless.annotate.cvat import TIMEOUT_S, Place, RefusedError
from serverless.annotate.errors import AnnotateError, FrameError, Retry, TransientError
from serverless.nuclio_worker import FunctionError, FunctionSettings, NuclioWorker, Request
from serverless.protocol import (
    AnswerError,
    Box,
    CarriedExemplars,
    ExemplarsAnswer,
    PluginAnswer,
    RequestError,
    encoded,
    exemplar_prompts,
    plugin_prompts,
)

Answer = TypeVar("Answer", PluginAnswer, ExemplarsAnswer)


class Function(Protocol):
    """Finds the objects of a frame.

    Attributes:
        name: What it is, for people.
        classes: Names of its classes, in the order of their indices; none for an open model, whose
            classes are those of the caller.
    """

    name: str
    classes: tuple[str, ...]

    def ask(
        self,
        frame: int,
        clicks: Sequence[Click],
        threshold: float | None,
        exemplars: CarriedExemplars | None = None,
    ) -> PluginAnswer:
        """Return the answer of the function.

        Args:
            frame: Number of the frame.
            clicks: In pixels of its picture.
            threshold: Lowest score; ``None`` for the default of the weights.
            exemplars: Of other pictures.

        Raises:
            FrameError: This frame was refused.
            TransientError: The function does not answer, in spite of several attempts.
            AnnotateError: It is not this project's.
        """


class ExemplarFunction(Function, Protocol):
    """One that also says what it takes under clicks and in boxes."""

    def exemplars(
        self, frame: int, clicks: Sequence[Click], boxes: Sequence[LabelledBox]
    ) -> ExemplarsAnswer:
        """Return the exemplars of a frame, at most `serverless.protocol.MOST_EXEMPLARS`.

        Args:
            frame: Number of the frame.
            clicks: In pixels of its picture.
            boxes: Likewise.

        Raises:
            FrameError: This frame was refused.
            TransientError: The function does not answer, in spite of several attempts.
            AnnotateError: It is not this project's.
        """


def ask_until_searched(
    function: Function,
    frame: int,
    clicks: Sequence[Click],
    threshold: float | None,
    exemplars: CarriedExemplars | None = None,
) -> PluginAnswer:
    """Return the answer of the function once it has searched the whole picture.

    It stops at its time budget, and goes on there when the same clicks come again.

    Args:
        function: That is asked.
        frame: Number of the frame.
        clicks: In pixels of its picture.
        threshold: Lowest score; ``None`` for the default of the weights.
        exemplars: Of other pictures.

    Raises:
        FrameError: This frame was refused, or the function comes no further in it.
        TransientError: The function does not answer, in spite of several attempts.
    """
    return until_done(function, lambda: function.ask(frame, clicks, threshold, exemplars))


def until_done(function: Function, ask: Callable[[], Answer]) -> Answer:
    """Return the answer to a question that is asked until all of its work is done.

    Raises:
        FrameError: See `ask_until_searched`.
        TransientError: Likewise.
    """
    done = -1.0
    while True:
        answer = ask()
        progress = answer.progress
        if progress is None or progress >= 1:
            return answer
        if progress <= done:
            raise FrameError(
                f"{function.name} does {progress:.0%} of the work for this picture and no more: "
                "raise its C3DET_TIME_BUDGET_SECONDS or C3DET_CACHE_BYTES"
            )
        done = progress


def checked_boxes(answer: PluginAnswer, classes: Sequence[str], function: str) -> list[Box]:
    """Return the boxes of an answer.

    Args:
        answer: Of a function.
        classes: Names of the classes that the boxes' class index counts.
        function: Its name, for messages.

    Raises:
        FrameError: The function says why it has no boxes.
        AnnotateError: It does not have these classes.
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


def function_classes(function_yaml: Path) -> tuple[str, ...]:
    """Return the names of the classes that a ``function.yaml`` tells CVAT.

    Raises:
        AnnotateError: The file cannot be read.
    """
    try:
        config = yaml.safe_load(function_yaml.read_text(encoding="utf-8"))
        labels = json.loads(config["metadata"]["annotations"].get("spec") or "[]")
        return tuple(label["name"] for label in labels)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise AnnotateError(f"{function_yaml} is no readable function.yaml: {error}") from error


class _Sending(ABC):
    """What the functions have in common: they differ in the way to them.

    Attributes:
        name: See `Function`.
        classes: Likewise.
    """

    name: str
    classes: tuple[str, ...]

    @abstractmethod
    def send(self, frame: int, prompts: Mapping[str, Any]) -> bytes:
        """Return the body of the answer to a request without its picture."""

    def ask(
        self,
        frame: int,
        clicks: Sequence[Click],
        threshold: float | None,
        exemplars: CarriedExemplars | None = None,
    ) -> PluginAnswer:
        """See `Function`."""
        answer = self.send(frame, plugin_prompts(clicks, threshold, exemplars))
        return self._read(answer, PluginAnswer.read)

    def exemplars(
        self, frame: int, clicks: Sequence[Click], boxes: Sequence[LabelledBox]
    ) -> ExemplarsAnswer:
        """See `ExemplarFunction`."""
        answer = self.send(frame, exemplar_prompts(clicks, boxes))
        try:
            return self._read(answer, ExemplarsAnswer.read)
        except RequestError as error:
            raise FrameError(error.message) from error

    def _read(self, answer: bytes, read: Callable[[Any], Answer]) -> Answer:
        try:
            return read(json.loads(answer))
        except ValueError:
            raise AnnotateError(
                f"{self.name} does not answer with JSON: it is another function"
            ) from None
        except AnswerError as error:
            raise AnnotateError(f"{self.name} is another function: {error}") from None


class FunctionOfCvat(_Sending):
    """The function that a CVAT server calls.

    Args:
        place: The job or task whose frames are asked about.
        name: Of the function, as Nuclio knows it.

    Raises:
        AnnotateError: The server has no such interactor.
    """

    def __init__(self, place: Place, name: str) -> None:
        self.name = f"the function {name} of {place.server.host}"
        self._place = place
        self._path = f"/api/lambda/functions/{name}"
        functions = place.server.get_json("/api/lambda/functions")
        interactors = {f["id"]: f for f in functions if f["kind"] == "interactor"}
        if name not in interactors:
            raise AnnotateError(
                f"{place.server.host} has no interactor {name!r}, it has "
                f"{', '.join(sorted(interactors)) or 'none'}: name one with --function"
            )
        self.classes = tuple(label["name"] for label in interactors[name]["labels_v2"])

    def send(self, frame: int, prompts: Mapping[str, Any]) -> bytes:
        """Ask with the frame's number: the server has the picture."""
        place = self._place
        body = {place.kind: place.id, "frame": frame, **prompts}
        server = place.server
        try:
            return server.retry.call(lambda: server.send("POST", self._path, body=body))
        except RefusedError as error:
            raise FrameError(str(error)) from error


class FunctionAtAddress(_Sending):
    """A function at its own address, such as one of Nuclio or of ``serverless.local``.

    Args:
        url: The address.
        classes: Names of its classes; it does not tell them.
        picture: Fetches the file of a frame.
        retry: For requests without an answer.
    """

    def __init__(
        self, url: str, classes: tuple[str, ...], picture: Callable[[int], bytes], retry: Retry
    ) -> None:
        self.name = f"the function at {url}"
        self.classes = classes
        self._url = url
        self._picture = picture
        self._retry = retry
        self._http = urllib3.PoolManager(retries=False, timeout=TIMEOUT_S)

    def send(self, frame: int, prompts: Mapping[str, Any]) -> bytes:
        """Ask with the frame's picture."""
        body = _with_picture(self._picture(frame), prompts)
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
            raise FrameError(f"status {answer.status}")
        return answer.data


class FunctionInProcess(_Sending):
    """The function's handler in this process, without a server.

    Args:
        function_yaml: Of the function.
        picture: Fetches the file of a frame.
        weights: A ``.safetensors`` file; ``None`` for the one that the function would take.

    Raises:
        AnnotateError: The weights or the ``function.yaml`` cannot be used.
    """

    def __init__(
        self, function_yaml: Path, picture: Callable[[int], bytes], weights: Path | None
    ) -> None:
        from c3det.weights import WeightsError

        logger = nuclio_sdk.Logger("ERROR", name="serverless.annotate")
        try:
            self._worker = NuclioWorker.load(
                FunctionSettings.read(function_yaml), logger, "init_with_any_classes"
            )
            with _weights_setting(weights):
                self._worker.start()
        except (FunctionError, WeightsError, ValueError) as error:
            raise AnnotateError(str(error)) from error
        predictor = self._worker.context.user_data.predictor
        self.name = f"the model {predictor.card.name}"
        self.classes = tuple(predictor.classes)
        self._picture = picture

    def send(self, frame: int, prompts: Mapping[str, Any]) -> bytes:
        """Ask with the frame's picture."""
        body = _with_picture(self._picture(frame), prompts)
        headers = {"Content-Type": "application/json"}
        answer = self._worker.handle(Request("POST", "/", body, headers))
        if answer.status != 200:
            raise FrameError(f"the model failed with status {answer.status}")
        return answer.body


@contextmanager
def _weights_setting(weights: Path | None) -> Iterator[None]:
    """Set the variable that names the weights, where there are some, for a while."""
    before = os.environ.get("C3DET_WEIGHTS")
    if weights is not None:
        os.environ["C3DET_WEIGHTS"] = str(weights)
    try:
        yield
    finally:
        if before is not None:
            os.environ["C3DET_WEIGHTS"] = before
        elif weights is not None:
            del os.environ["C3DET_WEIGHTS"]


def _with_picture(picture: bytes, prompts: Mapping[str, Any]) -> bytes:
    return json.dumps({"image": encoded(picture), **prompts}).encode()
