"""The page, driven in headless Chromium by real mouse clicks and keys, over the real handler."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nuclio_sdk
import numpy as np
import pytest
from PIL import Image, ImageDraw
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from c3det import predictor as predictor_module
from c3det.clicks import Click
from c3det.detections import Detections
from c3det.picture import Picture, SearchResult
from c3det.predictor import Predictor
from serverless import main
from serverless.local import LocalServer, describe_model
from serverless.nuclio_worker import NuclioWorker, Trigger
from serverless.service import Service
from serverless.settings import STARTER_WEIGHTS, ServingSettings
from tests.c3det.small import saved
from tests.serverless.page_driver import LAPTOP, Page, chromium, missing_programs, serving

pytestmark = pytest.mark.skipif(
    missing_programs() is not None, reason=f"the page is not tested: {missing_programs()}"
)

CLASSES = ("tree", *"0123456789")
EXAMPLES = sorted((Path(__file__).parents[1] / "protocol").glob("plugin-*.json"))
OPEN_WEIGHTS = STARTER_WEIGHTS.with_name("open.safetensors")
SIZE = (400, 300)
DISCS = ((60, 60), (200, 150), (330, 240))
DISC_SCORES = (0.9, 0.6, 0.2)
RADIUS = 12
TREE_COLOR = (0xFF, 0xD6, 0x0A)
# After this long a second click is not the half of a double click.
DOUBLE_CLICK_S = 0.55


# Keeps all that the page says of the progress.
WATCH = """
window.seen = [];
const text = document.getElementById("progress-text");
new MutationObserver(() => window.seen.push(text.textContent)).observe(text, { childList: true });
"""


@dataclass
class FakePredictor:
    """Finds the three discs with the scores above, and answers each click with a box of 20 px.

    The discs are of the first class; without classes and clicks of none. ``rivals`` come second for
    the first discs, with 0.1 less. ``progresses`` are told one after the other, or raised, then 1.
    ``gate`` can be cleared to hold calls back; ``waiting`` tells that one has come.
    """

    classes: tuple[str, ...] = CLASSES
    calls: list[tuple[Click, ...]] = field(default_factory=list)
    fault: Exception | None = None
    progresses: list[float | Exception] = field(default_factory=list)
    overruled: bool = False
    rivals: tuple[int, ...] = ()
    gate: threading.Event = field(default_factory=threading.Event)
    waiting: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        card = {"name": "fake", "classes": self.classes, "score_threshold": 0.5, "sha256": "00"}
        self.card = SimpleNamespace(**card)

    def open(self, image: np.ndarray, max_bytes: int = 0) -> Any:
        return SimpleNamespace(image_size=image.shape[:2], nbytes=1, detect=self.detect)

    def detect(
        self,
        clicks: Sequence[Click],
        score_threshold: float,
        *,
        exemplars: None = None,
        deadline: float,
    ) -> SearchResult:
        self.calls.append(tuple(clicks))
        self.waiting.set()
        self.gate.wait(20)
        if self.fault:
            raise self.fault
        boxes, scores, labels, answered = [], [], [], []
        for index, click in enumerate(clicks):
            if click.positive:
                boxes.append([click.x - 10, click.y - 10, click.x + 10, click.y + 10])
                scores.append(1.0)
                labels.append(click.label)
                answered.append(index)
        for (x, y), score in zip(DISCS, DISC_SCORES, strict=True):
            if score >= score_threshold and not any(
                abs(click.x - x) < RADIUS and abs(click.y - y) < RADIUS for click in clicks
            ):
                boxes.append([x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS])
                scores.append(score)
                labels.append(0 if self.classes or clicks else -1)
                answered.append(-1)
        answer_of = [index if index in answered else -1 for index in range(len(clicks))]
        if self.overruled and len(clicks) > 1:
            answer_of[0] = len(clicks) - 1
        found = Detections(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(scores, np.float32),
            np.array(labels, np.int64),
            np.array(answered, np.int64),
            np.array(answer_of, np.int64),
            *self._rivals(np.array(scores), np.array(answered)),
        )
        progress = self.progresses.pop(0) if self.progresses else 1.0
        if isinstance(progress, Exception):
            raise progress
        return SearchResult(found, float(progress == 1), progress, True, {"detect": 0.001})

    def _rivals(self, scores: np.ndarray, answered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rivals = np.full(len(scores), -1, np.int64)
        of_discs = np.flatnonzero(answered < 0)[: len(self.rivals)]
        rivals[of_discs] = self.rivals[: len(of_discs)]
        return rivals, np.where(rivals < 0, 0, scores - 0.1).astype(np.float32)


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    image = Image.new("RGB", SIZE, "#3d4a30")
    draw = ImageDraw.Draw(image)
    for x, y in DISCS:
        draw.ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), fill="#88aa66")
    image.save(folder / "discs.png")
    image.rotate(180).save(folder / "turned_discs.png")
    return folder


@contextmanager
def opened(
    browser: Chrome,
    pictures: Path,
    predictor: FakePredictor | Predictor,
    limits: Trigger | None = None,
    **settings: int,
) -> Iterator[Page]:
    """Serve the real handler over a fake predictor and open the page on the first sample."""

    chosen = ServingSettings.from_environment({}, **settings)
    service = Service.create(predictor, chosen)  # type: ignore[arg-type]
    logger = nuclio_sdk.Logger("CRITICAL", name="test_page")
    worker = NuclioWorker(main.handler, limits or Trigger(), logger, service)
    server = LocalServer(("127.0.0.1", 0), worker, pictures)
    server.model = describe_model(worker)
    with serving(server) as url:
        page = Page(browser, url)
        page.problems()
        try:
            if pictures.is_dir():
                page.settle()
            yield page
        finally:
            if isinstance(predictor, FakePredictor):
                predictor.gate.set()
            # Another test may be served at the same address.
            browser.execute_script("localStorage.clear()")


def positions(clicks: Sequence[Click]) -> np.ndarray:
    return np.array([(click.x, click.y) for click in clicks])


def pixel(browser: Chrome, folder: Path, point: tuple[int, int]) -> np.ndarray:
    """Save a screenshot and return the colour of one of its pixels."""
    file = folder / "page.png"
    browser.save_screenshot(str(file))
    with Image.open(file) as image:
        assert image.size == LAPTOP
        return np.array(image.convert("RGB"))[point[1], point[0]].astype(int)


def test_boxes_come_before_the_first_click(browser: Chrome, pictures: Path, tmp_path: Path) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        assert predictor.calls == [()]
        assert page.text("#box-count") == "2"
        assert page.class_count("tree") == 2
        assert page.text("#click-count") == "0"
        assert page.text("#round-trip") == "", "figures are for who asks for them"
        page.press("#times summary")
        assert "ms" in page.text("#round-trip")
        assert "encode" in page.text("#stages")
        # The upper edge of the box of the first disc, away from its corners.
        edge = page.screen_point(DISCS[0][0], DISCS[0][1] - RADIUS)
        assert np.abs(pixel(browser, tmp_path, edge) - TREE_COLOR).max() < 60
        assert page.problems() == []


def test_click_sends_the_point_and_the_chosen_class(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        page.click(*DISCS[2])
        page.settle()
        page.keys("3")
        page.click(100.5, 200.5)
        page.settle()
        page.press("#classes [title='9']")
        page.click(20.5, 20.5, positive=False)
        page.settle()
        clicks = predictor.calls[-1]
        assert [(click.label, click.positive) for click in clicks] == [
            (0, True),
            (4, True),
            (10, False),
        ]
        # A whole pixel of the screen is less than a pixel of this picture.
        assert np.abs(positions(clicks) - [DISCS[2], (100.5, 200.5), (20.5, 20.5)]).max() < 0.5
        assert page.text("#click-count") == "3"
        assert page.class_count("tree") == 3
        assert page.class_count("3") == 1
        assert page.class_count("9") == 0


def test_right_click_removes_a_box(browser: Chrome, pictures: Path) -> None:
    with opened(browser, pictures, FakePredictor()) as page:
        page.click(*DISCS[0], positive=False)
        page.settle()
        assert page.text("#box-count") == "1"


def test_undo_redo_clear(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        assert not page.find("#undo").is_enabled()
        page.click(100, 200)
        page.click(120, 250)
        page.settle()
        assert page.text("#box-count") == "4"
        page.press("#undo")
        page.settle()
        assert page.text("#box-count") == "3"
        page.undo_by_key()
        page.settle()
        assert (page.text("#box-count"), page.text("#click-count")) == ("2", "0")
        asked = len(predictor.calls)
        page.press("#redo")
        assert page.text("#box-count") == "3", "at once"
        page.keys(Keys.CONTROL, "y")
        assert page.text("#box-count") == "4"
        page.undo_by_key()
        page.undo_by_key()
        assert page.text("#box-count") == "2"
        page.press("#redo")
        page.press("#redo")
        assert len(predictor.calls) == asked, "what was answered is not asked again"
        page.press("#clear")
        page.settle()
        assert page.text("#box-count") == "2"
        page.undo_by_key()
        page.settle()
        assert page.text("#box-count") == "4"
        assert [len(calls) for calls in predictor.calls] == [0, 1, 2, 0]


def test_a_click_after_an_undo_waits_for_its_answer(
    browser: Chrome, pictures: Path, tmp_path: Path
) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        for x in (100, 150):
            page.click(x, 250)
            page.settle()
        page.undo_by_key()
        predictor.gate.clear()
        page.click(200, 250)
        page.wait_for("#click-count", "2")
        page.point_at(5, 5)
        for x, waits in ((100, False), (200, True)):
            column, row = page.screen_point(x, 250)
            # The ring around a click that has no answer yet.
            ring = pixel(browser, tmp_path, (column, row + 9))
            assert (np.abs(ring - TREE_COLOR).max() < 60) == waits


def test_threshold_filters_without_asking_again(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        assert page.text("#threshold-value") == "0.50"
        slider = browser.find_element(By.ID, "threshold")
        slider.send_keys(Keys.END)
        assert (page.text("#threshold-value"), page.text("#box-count")) == ("0.95", "0")
        slider.send_keys(Keys.HOME)
        assert (page.text("#threshold-value"), page.text("#box-count")) == ("0.05", "3")
        assert len(predictor.calls) == 1


def test_a_picture_that_was_searched_in_part_is_searched_on(
    browser: Chrome, pictures: Path
) -> None:
    """By itself, from the first answer, in which nothing is searched yet, to the last."""
    predictor = FakePredictor(progresses=[0.1, 0.312, 0.728])
    with opened(browser, pictures, predictor) as page:
        page.settle()
        assert not page.find("#progress").is_displayed()
        assert predictor.calls == [()] * 4, "the same clicks each time"
        predictor.progresses = [0.25]
        predictor.gate.clear()
        page.click(20, 20)
        page.click(60, 20)
        predictor.gate.set()
        page.settle()
        assert len(predictor.calls[-1]) == 2, "what is asked last are the latest clicks"


def test_a_real_picture_of_many_tiles_is_searched_to_the_end(
    browser: Chrome, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request has time for one of twelve tiles, or to read one under a click."""
    monkeypatch.setattr(predictor_module, "TILE_SIDE", 128)
    monkeypatch.setattr(predictor_module, "TILE_OVERLAP", 20)
    told = []
    detect = Picture.detect

    def noted(picture: Picture, *args: Any, **kwargs: Any) -> SearchResult:
        answer = detect(picture, *args, **kwargs)
        told.append((len(args[0]), answer.progress))
        return answer

    monkeypatch.setattr(Picture, "detect", noted)
    with opened(browser, pictures, saved(tmp_path), time_budget_seconds=0) as page:
        page.settle()
        assert told == [(0, (done + 1) / 12) for done in range(12)]
        page.click(20, 20)
        page.settle()
        page.click(380, 280)
        page.settle()
        assert told[12:25] == [(1, (done + 1) / 13) for done in range(13)]
        assert [progress for number, progress in told[25:]] == sorted({p for _, p in told[25:]})
        assert told[-1] == (2, 1)
        assert not page.find("#progress").is_displayed()
        assert page.problems() == []


def test_the_page_tells_how_far_the_search_is(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor(progresses=[0.728])
    with opened(browser, pictures, predictor) as page:
        page.settle()
        predictor.progresses = [0.31]
        page.browser.execute_script(WATCH)
        page.click(20, 20)
        page.settle()
        assert "Searching: 31 % done." in page.browser.execute_script("return window.seen")


def test_a_search_that_comes_no_further_says_so(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor(progresses=[0.2, 0.4, 0.4])
    with opened(browser, pictures, predictor) as page:
        page.wait_for("#progress-text", "The search stops at 40 %")
        page.settle()
        assert len(predictor.calls) == 3
        page.press("#search-on")
        page.settle()
        assert not page.find("#progress").is_displayed()
        assert len(predictor.calls) == 4


def test_a_search_that_fails_half_way_says_so_and_is_tried_again(
    browser: Chrome, pictures: Path
) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        predictor.progresses = [0.3, ValueError("broken inside")]
        page.click(20, 20)
        page.wait_for("#error-text", "The function failed")
        assert page.text("#progress-text") == "The search ended at 30 %: boxes may be missing."
        page.press("#error-again")
        page.settle()
        assert not page.find("#error").is_displayed()
        assert not page.find("#progress").is_displayed()
        assert [len(clicks) for clicks in predictor.calls] == [0, 1, 1, 1]
        # Closed, it can still be tried again.
        predictor.progresses = [0.3, ValueError("broken inside")]
        page.click(40, 20)
        page.wait_for("#error-text", "The function failed")
        page.press("#error-close")
        page.press("#search-on")
        page.settle()
        assert not page.find("#progress").is_displayed()


def test_a_long_request_can_be_cancelled(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        predictor.gate.clear()
        page.click(20, 20)
        assert not page.find("#cancel").is_displayed()
        page.wait_for("#waiting", "Asking the function")
        page.press("#cancel")
        page.wait_for("#error-text", "Cancelled: the latest clicks have no answer yet.")
        assert page.text("#click-count") == "1"
        assert not page.find("#cancel").is_displayed()
        predictor.gate.set()
        page.press("#error-again")
        page.settle()
        assert page.text("#box-count") == "3"


def test_a_sample_that_cannot_be_fetched_is_told(browser: Chrome, pictures: Path) -> None:
    with opened(browser, pictures, FakePredictor()) as page:
        browser.execute_script("window.fetch = async () => { throw new TypeError('gone'); }")
        page.press("[data-sample='turned_discs.png']")
        page.wait_for("#error-text", "The sample picture turned_discs.png cannot be read")
        assert not page.find("#error-again").is_displayed()


def test_the_page_shows_what_the_answer_notes(browser: Chrome, pictures: Path) -> None:
    with opened(browser, pictures, FakePredictor(overruled=True)) as page:
        page.settle()
        page.click(20, 20)
        page.press("#classes [title='3']")
        page.click(28, 20)
        page.settle()
        sentence = "tree and 3 were clicked on one object: the last click, 3, counts."
        assert page.text("#notes") == sentence
        page.undo_by_key()
        page.settle()
        assert not page.find("#notes").is_displayed()


def test_pointing_at_a_box_tells_label_and_score(browser: Chrome, pictures: Path) -> None:
    with opened(browser, pictures, FakePredictor()) as page:
        page.point_at(*DISCS[1])
        page.wait_for("#tip", "tree 0.60 · 24 \N{MULTIPLICATION SIGN} 24 px")
        page.point_at(5, 290)
        assert not page.find("#tip").is_displayed()
        x = float(page.text("#position").split()[1])
        assert abs(x - 5) < 0.5


def test_a_label_is_whole_at_the_edge_of_the_window(
    browser: Chrome, pictures: Path, tmp_path: Path
) -> None:
    name = "storage tank of the northern harbour"
    with opened(browser, pictures, FakePredictor(classes=(name,))) as page:
        page.click(392, 150)
        page.settle()
        # In the middle of the label's line, its class's colour is that of the swatch alone.
        _, row = page.screen_point(392, 140)
        browser.save_screenshot(str(tmp_path / "page.png"))
        with Image.open(tmp_path / "page.png") as image:
            line = np.asarray(image.convert("RGB"))[row - 11].astype(int)
        swatch = np.flatnonzero(np.abs(line - TREE_COLOR).max(1) < 10)
        room, width = browser.execute_script(
            "const canvas = document.getElementById('canvas');"
            "return [canvas.clientWidth, canvas.getContext('2d').measureText(arguments[0]).width]",
            f"{name} (clicked)",
        )
        assert len(swatch) in (7, 8)
        assert 150 < width <= room - swatch[-1] - 3


def test_zoom_and_movement_keep_the_click_exact(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        before = page.text("#zoom")
        page.wheel(200, 150, -500)
        assert page.text("#zoom") != before
        # Wheel: exp(500 * 0.002) = e times as large, with the point under the mouse held still.
        page.click(200, 150)
        page.settle()
        fitted = float(before.removesuffix(" %")) / 100
        page.drag(300, 100, 54, -81)
        page.click(200, 150)
        page.settle()
        assert len(predictor.calls[-1]) == 2, "the drag is no click"
        first, second = positions(predictor.calls[-1])
        assert np.abs(first - (200, 150)).max() < 0.5
        moved = np.array([54, -81]) / (fitted * np.e)
        assert np.abs(first - second - moved).max() < 0.1
        page.press("#fit")
        assert page.text("#zoom") == before


def test_a_click_is_where_it_was_pressed_and_a_drag_is_none(
    browser: Chrome, pictures: Path
) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        for positive in (True, False):
            for by in (3, 40):
                page.drag(100, 200, by, 0, positive)
                page.settle()
            assert len(predictor.calls[-1]) == (1 if positive else 2), "a drag is no click"
            # The picture was dragged with the left button.
            page.press("#fit")
        assert np.abs(positions(predictor.calls[-1]) - (100, 200)).max() < 0.5
        assert [click.positive for click in predictor.calls[-1]] == [True, False]


def test_the_picture_is_clicked_by_keys(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        browser.execute_script("document.getElementById('canvas').focus()")
        page.keys(" ")
        assert page.text("#click-count") == "0", "first the cursor is there"
        page.keys(" ")
        page.settle()
        for _ in range(2):
            page.keys(Keys.SHIFT, Keys.ARROW_RIGHT)
        page.keys(Keys.ARROW_UP)
        page.keys(Keys.CONTROL, Keys.ARROW_UP)
        page.keys(Keys.SHIFT, " ")
        page.settle()
        scale = float(page.text("#zoom").removesuffix(" %")) / 100
        wanted = [(200, 150), (200 + 128 / scale, 150 - 9 / scale)]
        assert np.abs(positions(predictor.calls[-1]) - wanted).max() < 1
        assert [click.positive for click in predictor.calls[-1]] == [True, False]
        # Zoomed in, the picture goes along; at its edge the cursor stays.
        for _ in range(8):
            page.keys("+")
        for _ in range(60):
            page.keys(Keys.SHIFT, Keys.ARROW_LEFT)
        assert page.text("#position").startswith("x 0.0")
        page.keys(" ")
        page.settle()
        assert predictor.calls[-1][-1].x == pytest.approx(0, abs=0.01)


def test_arrows_go_through_the_classes(browser: Chrome, pictures: Path) -> None:
    with opened(browser, pictures, FakePredictor()) as page:
        stops = (
            "return [...document.querySelectorAll('#classes button')]"
            ".filter((one) => one.tabIndex === 0).map((one) => one.title)"
        )
        assert browser.execute_script(stops) == ["tree"]
        browser.execute_script("document.querySelector('#classes button').focus()")
        for key, name in (
            (Keys.ARROW_DOWN, "0"),
            (Keys.ARROW_RIGHT, "1"),
            (Keys.ARROW_LEFT, "0"),
            (Keys.END, "9"),
            (Keys.ARROW_DOWN, "tree"),
        ):
            page.keys(key)
            chosen = browser.switch_to.active_element
            assert chosen.get_attribute("title") == name
            assert chosen.get_attribute("aria-checked") == "true"
            assert browser.execute_script(stops) == [name]


def test_click_beside_the_picture_is_none(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        page.wheel(200, 150, 600)
        page.click(2, 2)
        assert page.text("#click-count") == "0"


def test_double_click_is_one_click(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        page.click(100, 250)
        page.click(100, 250)
        assert page.text("#click-count") == "1"
        page.click(100, 250, positive=False)
        assert page.text("#click-count") == "2"


def test_a_click_on_the_same_place_asks_the_open_model_again(
    browser: Chrome, pictures: Path
) -> None:
    """Within 4 pixels of the screen, on which the picture is about 2.5 times as large."""
    predictor = FakePredictor(classes=())
    with opened(browser, pictures, predictor) as page:
        page.double_click(100, 250)
        page.settle()
        assert [len(clicks) for clicks in predictor.calls] == [0, 1], "a double click is one"
        time.sleep(DOUBLE_CLICK_S)
        page.click(101, 250)
        page.settle()
        first, again = predictor.calls[-1]
        assert again == first
        assert first.choice == 1
        assert page.text("#click-count") == "1"
        page.click(103, 250)
        time.sleep(DOUBLE_CLICK_S)
        page.click(101, 250)
        page.settle()
        *_, other, nearest = predictor.calls[-1]
        assert other.x == pytest.approx(103, abs=0.5), "too far away"
        assert nearest == replace(first, choice=2)
        assert page.text("#click-count") == "2"
        for _ in range(2):
            page.click(20, 20, positive=False)
            time.sleep(DOUBLE_CLICK_S)
        page.settle()
        assert [click.positive for click in predictor.calls[-1][4:]] == [False]
        assert page.problems() == []


def test_space_on_the_same_place_asks_the_open_model_again(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor(classes=())
    with opened(browser, pictures, predictor) as page:
        browser.execute_script("document.getElementById('canvas').focus()")
        page.keys(" ")
        for _ in range(2):
            page.keys(" ")
            page.settle()
            time.sleep(DOUBLE_CLICK_S)
        first, again = predictor.calls[-1]
        assert again == first
        held = "new KeyboardEvent('keydown', {key: ' ', repeat: true, bubbles: true})"
        browser.execute_script(f"document.getElementById('canvas').dispatchEvent({held})")
        page.settle()
        page.undo_by_key()
        page.settle()
        assert [len(clicks) for clicks in predictor.calls] == [0, 1, 2]
        assert page.text("#click-count") == "1"


def test_one_request_at_a_time_and_the_latest_clicks_win(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        predictor.gate.clear()
        for x in (100, 120, 140, 160):
            page.click(x, 250)
        assert page.text("#click-count") == "4"
        predictor.gate.set()
        page.settle()
        assert [len(clicks) for clicks in predictor.calls] == [0, 1, 4]
        assert page.text("#box-count") == "6"


def test_answer_to_a_click_that_was_undone_is_dropped(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        predictor.waiting.clear()
        predictor.gate.clear()
        page.click(100, 250)
        assert predictor.waiting.wait(20)
        page.undo_by_key()
        browser.execute_script(
            "window.seen = [];"
            "new MutationObserver(() => seen.push(document.getElementById('box-count').value))"
            ".observe(document.getElementById('box-count'), {childList: true})"
        )
        predictor.gate.set()
        page.settle()
        assert [len(clicks) for clicks in predictor.calls] == [0, 1]
        assert set(browser.execute_script("return seen")) <= {"2"}
        assert page.text("#box-count") == "2"


def test_other_sample_starts_without_clicks(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        page.click(100, 250)
        page.settle()
        page.press("[data-sample='turned_discs.png']")
        page.wait_for("#click-count", "0")
        page.settle()
        assert predictor.calls[-1] == ()
        chosen = browser.find_elements(By.CSS_SELECTOR, "#samples [aria-pressed='true']")
        assert [button.text for button in chosen] == ["turned discs"]


def test_own_picture_is_sent_byte_for_byte(
    browser: Chrome, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    decode = main.decode
    monkeypatch.setattr(
        main, "decode", lambda data, *rest: seen.append(data) or decode(data, *rest)
    )
    own = tmp_path / "own.jpg"
    Image.new("RGB", (30, 20), "gray").save(own, exif=b"")
    with opened(browser, pictures, FakePredictor()) as page:
        page.choose_file(own)
        page.wait_for("#canvas[aria-label^='own.jpg']", "")
        page.settle()
    assert seen[-1] == own.read_bytes()


def test_picture_can_be_dropped(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        browser.execute_async_script(
            "const done = arguments[0];"
            "fetch('samples/turned_discs.png').then((r) => r.blob()).then((blob) => {"
            "  const dataTransfer = new DataTransfer();"
            "  dataTransfer.items.add(new File([blob], 'dropped.png', {type: 'image/png'}));"
            "  window.dispatchEvent(new DragEvent('drop', {dataTransfer, cancelable: true}));"
            "  done();"
            "});"
        )
        page.wait_for("#canvas[aria-label^='dropped.png']", "")
        page.settle()
        assert len(predictor.calls) == 2


def test_file_that_is_no_picture_is_told(browser: Chrome, pictures: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with opened(browser, pictures, FakePredictor()) as page:
        page.choose_file(broken)
        page.wait_for("#error-text", "The browser cannot show broken.png")
        page.press("#error-close")
        assert not page.find("#error").is_displayed()


def test_error_names_the_field(browser: Chrome, pictures: Path) -> None:
    with opened(browser, pictures, FakePredictor(), max_pixels=1000) as page:
        page.wait_for("#error-text", 'Field "image":')
        assert page.text("#box-count") == "0"


def test_error_goes_with_the_next_good_answer(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor()
    with opened(browser, pictures, predictor) as page:
        predictor.fault = ValueError("broken inside")
        page.click(100, 250)
        page.wait_for("#error-text", "The function failed")
        predictor.fault = None
        page.click(120, 250)
        page.settle()
        assert not page.find("#error").is_displayed()


def test_picture_over_the_body_limit_is_told(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor()
    limits = Trigger(max_body_bytes=5000)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (99, 99, 3), np.uint8)).save(pictures / "a_noise.png")
    with opened(browser, pictures, predictor, limits) as page:
        page.wait_for("#error-text", "a_noise.png is too large")
        assert predictor.calls == []


def test_without_samples_the_page_says_what_to_do(browser: Chrome, tmp_path: Path) -> None:
    with opened(browser, tmp_path / "absent", FakePredictor()) as page:
        assert "open or drop your own" in page.text("#samples")
        assert page.find("#hint").is_displayed()
        page.press("#canvas")
        assert page.text("#click-count") == "0"


def test_many_classes_stay_usable(browser: Chrome, pictures: Path) -> None:
    names = tuple(f"kind of thing number {index}" for index in range(80))
    predictor = FakePredictor(classes=names)
    with opened(browser, pictures, predictor) as page:
        browser.find_element(By.ID, "class-filter").send_keys("number 77")
        buttons = browser.find_elements(By.CSS_SELECTOR, "#classes button")
        assert [button.get_attribute("title") for button in buttons if button.is_displayed()] == [
            names[77]
        ]
        page.press(f"#classes [title='{names[77]}']")
        page.click(100, 250)
        page.settle()
        assert predictor.calls[-1][0].label == 77


@pytest.mark.parametrize("names", [CLASSES, tuple(f"class {index}" for index in range(200))])
def test_page_fits_a_laptop(browser: Chrome, pictures: Path, names: tuple[str, ...]) -> None:
    with opened(browser, pictures, FakePredictor(classes=names)):
        size = "const e = document.documentElement; return [e.scrollWidth, e.scrollHeight]"
        assert tuple(browser.execute_script(size)) == LAPTOP
        panel = "const a = document.querySelector('aside'); return a.scrollHeight - a.clientHeight"
        assert browser.execute_script(panel) == 0


@pytest.mark.parametrize("names", [(), CLASSES])
def test_the_first_step_is_told_and_the_panel_has_no_hole(
    browser: Chrome, pictures: Path, names: tuple[str, ...]
) -> None:
    with opened(browser, pictures, FakePredictor(classes=names)) as page:
        assert "then click some" in page.text("#first-step")
        hole = (
            "const section = document.getElementById('class-section');"
            "const last = [...section.children].filter((one) => one.offsetHeight > 0).at(-1);"
            "return section.getBoundingClientRect().bottom - last.getBoundingClientRect().bottom"
        )
        assert browser.execute_script(hole) < 8
        page.click(100, 250)
        page.settle()
        assert not page.find("#first-step").is_displayed()
        assert browser.execute_script(hole) < 8


def test_the_bar_is_whole_in_a_narrow_window(browser: Chrome, pictures: Path) -> None:
    command = "Emulation.setDeviceMetricsOverride"
    size = {"deviceScaleFactor": 1, "mobile": False}
    try:
        with opened(browser, pictures, FakePredictor(classes=())):
            browser.execute_cdp_cmd(command, {"width": 800, "height": 600, **size})
            outside = (
                "const bar = document.getElementById('bar').getBoundingClientRect();"
                "return [...document.querySelectorAll('#bar, #bar *')].filter((one) => {"
                "  const {left, right, top, bottom} = one.getBoundingClientRect();"
                "  if (one.offsetWidth === 0) return false;"
                "  return one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0"
                "    || left < bar.left || right > bar.right || top < bar.top"
                "    || bottom > Math.min(bar.bottom, innerHeight); }).map((one) => one.outerHTML)"
            )
            assert browser.execute_script(outside) == []
    finally:
        browser.execute_cdp_cmd(command, {"width": LAPTOP[0], "height": LAPTOP[1], **size})


def test_classes_get_keys_that_people_expect(browser: Chrome, pictures: Path) -> None:
    with opened(browser, pictures, FakePredictor()):
        script = (
            "const [names, done] = arguments;"
            "import('/classes.js').then((module) => done(module.assignKeys(names, ['f', 'h'])))"
        )
        cases = {
            ("plane", "ship"): ["1", "2"],
            CLASSES: ["t", *"0123456789"],
            ("1", "fish"): ["1", "2"],
            (*"1234567890", "fhat", "at", "tt"): [*"1234567890", "a", "t", None],
        }
        for names, expected in cases.items():
            assert browser.execute_async_script(script, list(names)) == expected


def test_the_page_speaks_as_the_examples_do(browser: Chrome, pictures: Path) -> None:
    encode = (
        "const [image, clicks, done] = arguments;"
        "import('/protocol.js').then((m) => done(JSON.parse(m.encodeRequest(image, clicks, 0.05))))"
    )
    decode = (
        "const [text, done] = arguments;"
        "import('/protocol.js').then((m) => { try { done(m.decodeAnswer(200, text)); }"
        " catch (error) { done(`${error instanceof m.AnswerError}: ${error.message}`); } })"
    )
    refused = 0
    with opened(browser, pictures, FakePredictor()):
        for path in EXAMPLES:
            example = json.loads(path.read_text(encoding="utf-8"))
            request, answer = example.get("request"), example.get("answer")
            if request is not None:
                body = browser.execute_async_script(encode, request["image"], example["clicks"])
                for key in ("image", "pos_points", "neg_points"):
                    assert body[key] == request[key], (path.name, key)
            if answer is None:
                continue
            told = browser.execute_async_script(decode, json.dumps(answer))
            if answer["c3det"] != 1:
                refused += 1
                assert (
                    told
                    == "true: The function speaks version 2 of the protocol, this page version 1."
                )
                continue
            assert told["boxes"] == answer["boxes"], path.name
            assert told["progress"] == answer.get("progress", answer["coverage"])
            assert told["notes"] == answer.get("notes", [])
    assert refused == 1
    assert {"plugin-open.json", "plugin-open-no-clicks.json"} <= {path.name for path in EXAMPLES}


def names_of(page: Page) -> list[tuple[str, str]]:
    """Of all classes of the page, the name and the key."""
    buttons = page.browser.find_elements(By.CSS_SELECTOR, "#classes button")
    texts = [button.text.split("\n") for button in buttons]
    return [(text[0], text[-1] if len(text) > 1 else "") for text in texts]


def test_a_model_without_classes_takes_those_that_are_typed(
    browser: Chrome, pictures: Path
) -> None:
    predictor = FakePredictor(classes=())
    with opened(browser, pictures, predictor) as page:
        assert names_of(page) == [("object", "1")]
        page.press("#rename")
        page.type_name("washer")
        page.type_name(" nut 8 ")
        page.type_name("bolt")
        assert names_of(page) == [("washer", "1"), ("nut 8", "2"), ("bolt", "3")]
        page.click(100, 200)
        page.keys("2")
        page.click(150, 250)
        page.keys("1")
        page.click(20, 20, positive=False)
        page.settle()
        clicks = [(click.label, click.positive) for click in predictor.calls[-1]]
        assert clicks == [(2, True), (1, True), (0, False)]
        assert [page.class_count(name) for name in ("washer", "nut 8", "bolt")] == [2, 1, 1]
        page.point_at(150, 250)
        page.wait_for("#tip", "nut 8 (clicked) · 20 \N{MULTIPLICATION SIGN} 20 px")
        page.press("#classes [title='nut 8']")
        page.press("#rename")
        page.type_name("nut")
        page.point_at(150, 250)
        page.wait_for("#tip", "nut (clicked)")
        assert len(predictor.calls[-1]) == 3, "a name changes no request"
        browser.refresh()
        page.settle()
        assert [name for name, _ in names_of(page)] == ["washer", "nut", "bolt"]
        assert page.problems() == []


def test_a_class_that_is_removed_takes_its_clicks_along(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor(classes=())
    color = (
        "return getComputedStyle(document.querySelector('#classes [title=c] .swatch')).background"
    )
    with opened(browser, pictures, predictor) as page:
        page.type_name("b")
        page.type_name("c")
        before = browser.execute_script(color)
        for name, x in (("object", 100), ("b", 120), ("c", 140)):
            page.press(f"#classes [title='{name}']")
            page.click(x, 250)
        page.settle()
        page.press("#classes [title='b']")
        page.press("#remove")
        assert browser.switch_to.alert.text == "Remove b and its 1 click? That cannot be undone."
        browser.switch_to.alert.dismiss()
        assert page.text("#click-count") == "3"
        page.press("#remove")
        browser.switch_to.alert.accept()
        page.settle()
        assert names_of(page) == [("object", "1"), ("c", "2")]
        assert browser.execute_script(color) == before, "the others keep label and colour"
        assert [click.label for click in predictor.calls[-1]] == [0, 2]
        assert page.text("#box-count") == "4"
        page.press("#undo")
        page.press("#redo")
        page.settle()
        assert [click.label for click in predictor.calls[-1]] == [0, 2], "it does not come back"
        # The next class takes the label that is free.
        page.type_name("d")
        page.click(160, 250)
        page.settle()
        assert [click.label for click in predictor.calls[-1]] == [0, 2, 1]
        for name in ("object", "c", "d"):
            page.press(f"#classes [title='{name}']")
            page.press("#remove")
            browser.switch_to.alert.accept()
        page.settle()
        page.click(100, 200)
        assert page.text("#click-count") == "0", "there is no class to click"
        assert browser.switch_to.active_element.get_attribute("id") == "class-name"


def test_classes_keep_label_and_colour_when_the_page_is_loaded_anew(
    browser: Chrome, pictures: Path
) -> None:
    predictor = FakePredictor(classes=())
    labels = (
        "return [...document.querySelectorAll('#classes button')]"
        ".map((one) => [one.title, Number(one.dataset.class)])"
    )
    with opened(browser, pictures, predictor) as page:
        page.type_name("b")
        page.type_name("c")
        page.press("#classes [title='b']")
        page.press("#remove")
        browser.refresh()
        page.settle()
        assert browser.execute_script(labels) == [["object", 0], ["c", 2]]
        # Names alone, as they were saved before, and what cannot be.
        for saved_text, expected in (
            ('["x", "y", "x"]', [["x", 0], ["y", 1]]),
            ('[[0, "x"], [64, "y"]]', [["object", 0]]),
            ("{}", [["object", 0]]),
        ):
            script = "localStorage.setItem('c3det.classes', arguments[0])"
            browser.execute_script(script, saved_text)
            browser.refresh()
            page.settle()
            assert browser.execute_script(labels) == expected


def test_names_that_cannot_be_are_refused(browser: Chrome, pictures: Path) -> None:
    with opened(browser, pictures, FakePredictor(classes=())) as page:
        script = "return document.getElementById('class-name').validationMessage"
        page.type_name("  ")
        assert browser.execute_script(script) == "Type the name of a class."
        page.type_name("object")
        assert browser.execute_script(script) == "There is a class of this name already."
        for number in range(63):
            page.type_name(f"kind {number}")
        assert len(names_of(page)) == 64
        page.type_name("one more")
        assert "no more fit in a request" in browser.execute_script(script)
        assert names_of(page)[9:11] == [("kind 8", "0"), ("kind 9", "")]


def test_before_the_first_click_objects_of_no_class_show_on_request(
    browser: Chrome, pictures: Path
) -> None:
    predictor = FakePredictor(classes=())
    with opened(browser, pictures, predictor) as page:
        assert predictor.calls == [()], "so that the first click is fast"
        assert page.text("#box-count") == "0"
        page.press("#everything")
        assert page.text("#box-count") == "2"
        page.point_at(*DISCS[1])
        page.wait_for("#tip", "object 0.60")
        page.click(*DISCS[0])
        page.settle()
        assert page.text("#box-count") == "2"
        assert page.class_count("object") == 2
        assert not page.find("#everything").is_enabled()
        page.press("#clear")
        page.press("#everything")
        page.settle()
        assert page.text("#box-count") == "0"


def test_boxes_that_compete_tell_both_names(browser: Chrome, pictures: Path) -> None:
    predictor = FakePredictor(rivals=(1,))
    with opened(browser, pictures, predictor) as page:
        page.point_at(*DISCS[0])
        page.wait_for("#tip", "tree 0.90 or 0 0.80 · 24")
        page.point_at(*DISCS[1])
        page.wait_for("#tip", "tree 0.60 · 24")


@pytest.mark.parametrize("ground", ["#05070a", "#f4f4f4", "#6b6b2a", "#3a3a00", "#d9a0b4"])
def test_lines_stand_out_from_any_ground(
    browser: Chrome, pictures: Path, tmp_path: Path, ground: str
) -> None:
    """Those of all colours, of boxes of all sizes."""
    for path in pictures.iterdir():
        Image.new("RGB", SIZE, ground).save(path)
    predictor = FakePredictor(classes=tuple("abcdefghijkl"))
    with opened(browser, pictures, predictor) as page:
        for turns in (0, 1):
            for label, x in enumerate(range(20, 380, 30)):
                page.press(f"#classes [title='{'abcdefghijkl'[label]}']")
                page.click(x, 100 + 100 * turns)
            page.settle()
        file = tmp_path / "lines.png"
        browser.save_screenshot(str(file))
        with Image.open(file) as image:
            seen = np.array(image.convert("RGB")).astype(int)
        for x in range(20, 380, 30):
            for middle in (100, 200):
                # The lower edge of the box: the name is at the upper one.
                column, row = page.screen_point(x + 4, middle + 10)
                line = seen[row - 8 : row + 9, column] - seen[row + 25, column]
                assert np.linalg.norm(line, axis=1).max() > 150, (ground, x, middle)


def test_colours_of_classes_are_far_from_each_other(browser: Chrome, pictures: Path) -> None:
    """In OKLab, in which equal distances look equal (B. Ottosson, 2020)."""
    with opened(browser, pictures, FakePredictor()):
        names = browser.execute_async_script(
            "const done = arguments[0]; import('/classes.js').then((m) =>"
            "done(Array.from({length: 12}, (_, i) => m.classColor(i))))"
        )
    value = np.array([[int(name[i : i + 2], 16) / 255 for i in (1, 3, 5)] for name in names])
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    cones = (
        linear
        @ np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]).T
    )
    lab = (
        np.cbrt(cones)
        @ np.array(
            [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
        ).T
    )
    apart = np.linalg.norm(lab[:, None] - lab, axis=2) + np.eye(12)
    assert apart.min() > 0.15


@contextmanager
def serving_weights(
    browser: Chrome, pictures: Path, weights: Path
) -> Iterator[tuple[Page, list[Any]]]:
    """Open the page over a model that is loaded from a file; give its answers, too."""
    if not weights.is_file():
        pytest.skip(f"there are no weights at {weights}")
    answers: list[Any] = []

    def recording(context: Any, event: Any) -> Any:
        response = main.handler(context, event)
        answers.append(json.loads(response.body))
        return response

    logger = nuclio_sdk.Logger("CRITICAL", name="test_page")
    worker = NuclioWorker(recording, Trigger(), logger)
    worker.start(ServingSettings.from_environment({}, weights=weights))
    server = LocalServer(("127.0.0.1", 0), worker, pictures)
    server.model = describe_model(worker)
    with serving(server) as url:
        page = Page(browser, url)
        page.settle()
        yield page, answers
        browser.execute_script("localStorage.clear()")


def test_two_classes_with_the_open_weights(browser: Chrome, pictures: Path) -> None:
    with serving_weights(browser, pictures, OPEN_WEIGHTS) as (page, answers):
        assert page.text("#box-count") == "0"
        assert {box["class"] for box in answers[-1]["boxes"]} <= {None}
        page.type_name("disc")
        page.click(*DISCS[0])
        page.type_name("another")
        page.click(*DISCS[1])
        page.settle()
        assert page.class_count("disc") >= 1
        assert page.class_count("another") >= 1
        answered = {box["click"]: box for box in answers[-1]["boxes"] if box["click"] is not None}
        assert {index: box["class"] for index, box in answered.items()} == {0: 1, 1: 2}
        for index, (x, y) in enumerate(DISCS[:2]):
            x1, y1, x2, y2 = answered[index]["points"]
            assert x1 <= x <= x2
            assert y1 <= y <= y2
        page.press("#classes [title='disc']")
        page.click(*DISCS[0], positive=False)
        page.press("#classes [title='another']")
        page.press("#remove")
        browser.switch_to.alert.accept()
        page.settle()
        assert {box["class"] for box in answers[-1]["boxes"]} <= {1}
        assert page.problems() == []


def test_three_clicks_with_the_closed_weights(
    browser: Chrome, pictures: Path, tmp_path: Path
) -> None:
    with serving_weights(browser, pictures, STARTER_WEIGHTS) as (page, answers):
        for x, y in DISCS:
            page.click(x, y)
            page.settle()
        browser.save_screenshot(str(tmp_path / "closed_weights.png"))
        assert page.class_count("tree") >= 3
    answered = {box["click"]: box for box in answers[-1]["boxes"] if box["click"] is not None}
    assert sorted(answered) == [0, 1, 2]
    for index, (x, y) in enumerate(DISCS):
        x1, y1, x2, y2 = answered[index]["points"]
        assert x1 <= x <= x2
        assert y1 <= y <= y2
        assert answered[index]["label"] == "tree"
