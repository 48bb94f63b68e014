"""Random changes of a card: any JSON at any place."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["type", "os.system", "starter", "paper", "plain", "two-stage", "cosine"]),
    lambda one: (
        st.lists(one, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "preset", "gain", "x"]), one, max_size=3)
    ),
    max_leaves=6,
)


def mutate(data: st.DataObject, content: dict[str, Any]) -> None:
    """Replace, add or delete one value somewhere in a card's content."""
    place: Any = content
    while True:
        keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
        if isinstance(place, dict):
            keys.append(data.draw(st.text(max_size=5)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        known = isinstance(place, list) or key in place
        inner = place[key] if known else None
        if not isinstance(inner, dict | list) or data.draw(st.booleans()):
            if known and data.draw(st.integers(0, 4)) == 0:
                del place[key]
            else:
                place[key] = data.draw(JSON)
            return
        place = inner
