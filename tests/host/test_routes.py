"""ASP.NET route templates."""

from __future__ import annotations

import pytest

from local.host.routes import compile_route


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("api/runs", "/API/Runs/", {}),
        ("api/runs/{id}", "/api/runs/a%20b", {"id": "a b"}),
        ("api/runs/{id}", "/api/runs/a%2Fb", {"id": "a/b"}),
        ("api/runs/{id}", "/api/runs", None),
        ("api/runs/{id}", "/api/runs/a/b", None),
        ("api/runs/{id?}", "/api/runs", {}),
        ("api/runs/{id=last}", "/api/runs", {"id": "last"}),
        ("api/runs/{id:int?}", "/api/runs/12", {"id": "12"}),
        ("api/runs/{id:int?}", "/api/runs", {}),
        ("api/runs/{id:int}", "/api/runs/x", None),
        ("api/runs/{id:int}", "/api/runs/2147483648", None),
        ("api/runs/{id:long}", "/api/runs/2147483648", {"id": "2147483648"}),
        (
            "x/{g:guid}",
            "/x/0f8fad5b-d9cb-469f-a165-70867728950e",
            {"g": "0f8fad5b-d9cb-469f-a165-70867728950e"},
        ),
        ("x/{g:guid}", "/x/0f8fad5b", None),
        ("x/{w:alpha:minlength(2)}", "/x/ab", {"w": "ab"}),
        ("x/{w:alpha:minlength(2)}", "/x/a", None),
        ("x/{n:range(1,9)}", "/x/10", None),
        ("x/{n:length(2,3)}", "/x/ab", {"n": "ab"}),
        ("x/{b:bool}", "/x/TRUE", {"b": "TRUE"}),
        (r"x/{s:regex(^\d{{3}}-\d$)}", "/x/123-4", {"s": "123-4"}),
        (r"x/{s:regex(^\d{{3}}-\d$)}", "/x/12-4", None),
        ("files/{*path}", "/files/a/b%20c.txt", {"path": "a/b c.txt"}),
        ("files/{*path}", "/files", {}),
        ("{name}.{extension?}", "/a.tar.gz", {"name": "a.tar", "extension": "gz"}),
        ("{name}.{extension?}", "/readme", {"name": "readme"}),
        ("v1/models/a b", "/v1/models/a%20b", {}),
        ("", "/", {}),
    ],
)
def test_a_path_gives_its_values_or_belongs_to_another_route(
    template: str, path: str, values: dict[str, str] | None
) -> None:
    assert compile_route(template).match(path) == values


@pytest.mark.parametrize(
    "template",
    [
        *("a/{b", "a/b}", "a//b", "{a}/{A}", "{*rest}/x", "{a?}/b", "{a}{b}", "x{*rest}"),
        *("{a:int(}", "{a:nothing}", "{a:min(x)}", "{a:int?=3}", "{1a}", "x{a?}"),
    ],
)
def test_what_aspnet_refuses_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        compile_route(template)


def test_literal_parts_come_before_constrained_ones_before_free_ones_before_the_rest() -> None:
    templates = ["a/{*x}", "a/{x}", "a/{x:int}", "a/v{x}", "a/b", "{x}/b"]
    ordered = sorted(templates, key=lambda template: compile_route(template).precedence)
    assert ordered[0] == "a/b"
    assert set(ordered[1:3]) == {"a/{x:int}", "a/v{x}"}
    assert ordered[3:] == ["a/{x}", "a/{*x}", "{x}/b"]
