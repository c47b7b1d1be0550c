"""OpenAPI made complete: what every route may answer is added to what each one declares for itself."""

from typing import Any, Final

from shared.http.problems import Problem, declared
from shared.security.roles import ACT, SCHEME

_WITH_BODY: Final = frozenset({"post", "put", "patch", "delete"})
_METHODS: Final = _WITH_BODY | {"get", "head", "options", "trace"}
_FASTAPI_ERRORS: Final = ("HTTPValidationError", "ValidationError")


def complete(schema: dict[str, Any], *, authenticated: bool = False) -> dict[str, Any]:
    """Add the problems that the guard and the dispatch answer, and Problem itself; return the schema.

    authenticated: whether tokens are asked for; otherwise nothing is said of them.
    """
    for path, operations in schema.get("paths", {}).items():
        for method, operation in operations.items():
            if method in _METHODS:
                _declare(operation["responses"], method, with_parameters="{" in path)
                _declare_security(operation, authenticated)
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    if authenticated:
        schema["components"]["securitySchemes"] = {
            SCHEME: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
        }
    for name in _FASTAPI_ERRORS:
        schemas.pop(name, None)
    problem = Problem.model_json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}", by_alias=True
    )
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    return schema


def _declare(responses: dict[str, Any], method: str, *, with_parameters: bool) -> None:
    if any(name in str(responses.get("422")) for name in _FASTAPI_ERRORS):
        del responses["422"]
    statuses = [405, 422, 500, 503]
    if with_parameters:
        statuses.append(404)
    if method in _WITH_BODY:
        statuses += [408, 413, 415]
    for status, response in declared(*statuses).items():
        responses.setdefault(str(status), response)


def _declare_security(operation: dict[str, Any], authenticated: bool) -> None:
    """Declare what one without a token, or without the role, is answered; or take away that there are any."""
    if not authenticated:
        operation.pop("security", None)
        operation.pop(ACT, None)
    elif operation.get("security"):
        for status, response in declared(401, 403).items():
            operation["responses"].setdefault(str(status), response)
