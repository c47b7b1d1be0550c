"""Every route of every program, with every role: open to those whom its description names, to no other."""

from collections.abc import Iterator
from typing import Any

import pytest

from shared.security.roles import ACT, SCHEME, Role
from tests.integration.hostile.programs import Programs
from tests.integration.security.bearers import BY_ROLE, head
from tests.issuer import shared

HIDDEN = ("/docs", "/docs/oauth2-redirect", "/openapi.json")


def described(programs: Programs, program: str) -> Any:
    answer = programs.send("GET", program, "//openapi.json", headers=BY_ROLE[Role.MONITOR])
    assert answer.status == 200, answer
    return answer.json()


def operations(programs: Programs) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Yield program, method, path (its parameters filled in) and description of every operation."""
    for program in programs.ports:
        for path, methods in described(programs, program)["paths"].items():
            filled = "/".join("nothing" if part.startswith("{") else part for part in path.split("/"))
            for method, operation in methods.items():
                yield program, method.upper(), f"/{filled}", operation


def roles_of(operation: dict[str, Any]) -> set[str]:
    return {role for alternative in operation["security"] for role in alternative[SCHEME]}


def test_without_a_token_nothing_works_but_livez(programs: Programs) -> None:
    for program, method, path, _ in operations(programs):
        answer = programs.send(method, program, path, {} if method in ("POST", "PUT") else None)
        if path == "//livez":
            assert answer.status == 200
            continue
        assert answer.told == (401, "unauthenticated"), (program, method, path, answer)
        assert answer.headers["www-authenticate"] == 'Bearer realm="handfast"'
    for program in programs.ports:
        for path in (*HIDDEN, "/nowhere", "/livez/", "/LIVEZ", "//livez", "/api/v1/orders/../../livez"):
            assert programs.send("GET", program, f"/{path}").status == 401, path


def test_a_role_is_let_in_where_the_description_names_it_and_nowhere_else(programs: Programs) -> None:
    tried = 0
    for program, method, path, operation in operations(programs):
        if path == "//livez":
            assert operation["security"] == []
            continue
        named = roles_of(operation)
        assert named, (program, method, path)
        for role, bearer in BY_ROLE.items():
            answer = programs.send(method, program, path, {} if method in ("POST", "PUT") else None, bearer)
            where = (program, method, path, role, answer)
            assert answer.status not in (401, 500), where
            if role in named:
                assert answer.status < 400 or answer.slug != "forbidden" or _is_anothers(answer), where
            else:
                assert answer.told == (403, "forbidden"), where
            tried += 1
    assert tried > 300


def _is_anothers(answer: Any) -> bool:
    """Say whether it is refused for whose it is, and not for the role."""
    return "takes the role" not in answer.json()["detail"]


def test_nobody_in_particular_may_nothing(programs: Programs) -> None:
    nobody = head(shared(sub="nobody"))
    for program, method, path, _ in operations(programs):
        if path == "//livez":
            continue
        body: Any = {} if method in ("POST", "PUT") else None
        assert programs.send(method, program, path, body, nobody).told == (403, "forbidden")


def test_whatever_an_operator_changes_is_an_act(programs: Programs) -> None:
    for program, method, path, operation in operations(programs):
        changes = method != "GET" and Role.OPERATOR in roles_of(operation)
        assert (ACT in operation) == changes, (program, method, path)


def test_what_every_operation_is_answered_without_a_token_is_declared(programs: Programs) -> None:
    for program, method, path, operation in operations(programs):
        if operation["security"]:
            assert {"401", "403"} <= operation["responses"].keys(), (program, method, path)


@pytest.mark.parametrize("role", list(Role))
def test_a_head_is_answered_as_its_get(programs: Programs, role: Role) -> None:
    for path in ("//metrics", "/transactions", "//livez"):
        got = programs.send("GET", "coordinator", path, headers=BY_ROLE[role]).status
        assert programs.send("HEAD", "coordinator", path, headers=BY_ROLE[role]).status == got
