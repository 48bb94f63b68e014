"""Drives the page of the local runtime in headless Chromium, with real mouse and keyboard input."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.actions.mouse_button import MouseButton
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from serverless.local import LocalServer

LAPTOP = (1366, 768)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
)


def missing_programs() -> str | None:
    """Return why the page cannot be driven here, or ``None``."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(missing)} not found on PATH" if missing else None


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """Start Chromium with an empty profile and a viewport of a laptop's size."""
    with tempfile.TemporaryDirectory(prefix="c3det-chromium-") as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        browser = webdriver.Chrome(options=options, service=service)
        try:
            size = {"width": LAPTOP[0], "height": LAPTOP[1], "deviceScaleFactor": 1}
            command = "Emulation.setDeviceMetricsOverride"
            browser.execute_cdp_cmd(command, {**size, "mobile": False})
            yield browser
        finally:
            browser.quit()


@contextmanager
def serving(server: LocalServer) -> Iterator[str]:
    """Serve in a thread; give the address of the page."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Page:
    """What a person does on the page and sees there.

    Points are in pixels of the picture.
    """

    def __init__(self, browser: webdriver.Chrome, url: str, patience_s: float = 60) -> None:
        self.browser = browser
        self._wait = WebDriverWait(browser, patience_s, poll_frequency=0.02)
        browser.get(url)
        self._wait.until(lambda _: self.find("#classes button") is not None)

    def find(self, selector: str) -> WebElement | None:
        """Return the first element that matches."""
        found = self.browser.find_elements(By.CSS_SELECTOR, selector)
        return found[0] if found else None

    def text(self, selector: str) -> str:
        """Return what an element says."""
        return self.browser.find_element(By.CSS_SELECTOR, selector).text

    def press(self, selector: str) -> None:
        """Click a control."""
        self.browser.find_element(By.CSS_SELECTOR, selector).click()

    def keys(self, *keys: str) -> None:
        """Press keys, the first ones held down with the last one."""
        actions = ActionChains(self.browser)
        for key in keys[:-1]:
            actions.key_down(key)
        actions.send_keys(keys[-1])
        for key in reversed(keys[:-1]):
            actions.key_up(key)
        actions.perform()

    def type_name(self, name: str) -> None:
        """Type into the field for names of classes, over what is there, and press Enter."""
        field = self.browser.find_element(By.ID, "class-name")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(name, Keys.ENTER)

    def undo_by_key(self) -> None:
        """Press Ctrl+Z."""
        self.keys(Keys.CONTROL, "z")

    def settle(self) -> None:
        """Wait until the picture is shown and the function has answered."""
        self._wait.until(
            lambda _: self.browser.execute_script(
                "return document.getElementById('hint').hidden"
                " && document.getElementById('stage').getAttribute('aria-busy') === 'false'"
            )
        )

    def wait_for(self, selector: str, text: str) -> None:
        """Wait until an element says a text."""
        self._wait.until(lambda _: text in self.text(selector), f"{selector} never said {text!r}")

    def screen_point(self, x: float, y: float) -> tuple[int, int]:
        """Return the whole pixel of the window in which a point of the fitted picture lies."""
        left, top, width, height, picture_width, picture_height = self.browser.execute_script(
            "const box = document.getElementById('canvas').getBoundingClientRect();"
            "const size = document.getElementById('canvas').dataset.picture.split('x');"
            "return [box.left, box.top, box.width, box.height, Number(size[0]), Number(size[1])]"
        )
        scale = min(width / picture_width, height / picture_height)
        return (
            int(left + (width - picture_width * scale) / 2 + x * scale),
            int(top + (height - picture_height * scale) / 2 + y * scale),
        )

    def point_at(self, x: float, y: float) -> None:
        """Move the mouse to a point of the fitted picture."""
        self._mouse(x, y).perform()

    def click(self, x: float, y: float, positive: bool = True) -> None:
        """Click a point of the fitted picture with the left or the right button."""
        actions = self._mouse(x, y)
        (actions.click() if positive else actions.context_click()).perform()

    def double_click(self, x: float, y: float) -> None:
        """Double-click a point of the fitted picture."""
        self._mouse(x, y).double_click().perform()

    def drag(self, x: float, y: float, dx: int, dy: int, positive: bool = True) -> None:
        """Drag from a point of the fitted picture, by a distance on the screen."""
        actions = self._mouse(x, y)
        pointer = actions.w3c_actions.pointer_action
        button = MouseButton.LEFT if positive else MouseButton.RIGHT
        pointer.pointer_down(button)
        actions.move_by_offset(dx, dy)
        pointer.pointer_up(button)
        actions.perform()

    def wheel(self, x: float, y: float, delta: int) -> None:
        """Turn the wheel over a point of the fitted picture."""
        mouse = {"type": "mouseWheel", "deltaX": 0, "deltaY": delta}
        column, row = self.screen_point(x, y)
        self.browser.execute_cdp_cmd("Input.dispatchMouseEvent", {**mouse, "x": column, "y": row})

    def choose_file(self, path: Path) -> None:
        """Choose a file in the dialogue of the button "Open"."""
        self.browser.find_element(By.ID, "file").send_keys(str(path))

    def class_count(self, name: str) -> int:
        """Return the number of shown boxes of a class."""
        return int(self.text(f"#classes [title='{name}'] .count") or 0)

    def problems(self) -> list[str]:
        """Return what the browser's console complained of since the last call."""
        return [entry["message"] for entry in self.browser.get_log("browser")]

    def _mouse(self, x: float, y: float) -> ActionChains:
        # Selenium's default is to take a quarter of a second for every movement.
        actions = ActionChains(self.browser, duration=0)
        actions.w3c_actions.pointer_action.move_to_location(*self.screen_point(x, y))
        return actions
