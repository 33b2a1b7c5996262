"""Who may ask."""

from __future__ import annotations

import json

import pytest

from shared.errors import SettingsError
from shared.serving.api_keys import ApiKeys, digest


def test_each_key_is_let_in_and_nothing_else() -> None:
    keys = ApiKeys([digest("one"), digest("two").upper(), f" {digest('three')}\n"])
    for header in ("Bearer one", "bearer two", " Bearer  three "):
        assert keys.refusal(header) is None
    for header in ("Bearer four", f"Bearer {digest('one')}", "Bearer one two", "Bearer ö\ud800"):
        answer = keys.refusal(header)
        assert answer is not None
        assert answer.status == 401
        assert json.loads(answer.body)["error"]["code"] == "invalid_api_key"
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic one", "one"])
def test_who_sends_no_key_is_told_how_to(header: str | None) -> None:
    answer = ApiKeys([digest("one")]).refusal(header)
    assert answer is not None
    assert answer.status == 401
    assert "Authorization: Bearer" in json.loads(answer.body)["error"]["message"]


def test_without_keys_nobody_is_let_in() -> None:
    assert ApiKeys([]).refusal("Bearer one") is not None


def test_what_is_no_digest_is_named_by_place_and_not_repeated() -> None:
    with pytest.raises(SettingsError) as raised:
        ApiKeys(["a plain key", digest("one"), "ff"], setting="DROPTUNE_KEYS")
    assert [problem.place for problem in raised.value.problems] == [
        "DROPTUNE_KEYS[0]",
        "DROPTUNE_KEYS[2]",
    ]
    assert "a plain key" not in str(raised.value)
