"""OpenAPI made complete: what every route may answer is added to what each one declares for itself."""

from typing import Any, Final

from shared.http.problems import Problem, declared

_WITH_BODY: Final = frozenset({"post", "put", "patch", "delete"})
_METHODS: Final = _WITH_BODY | {"get", "head", "options", "trace"}
_FASTAPI_ERRORS: Final = ("HTTPValidationError", "ValidationError")


def complete(schema: dict[str, Any]) -> dict[str, Any]:
    """Add the problems that the guard and the dispatch answer, and Problem itself; return the schema."""
    for path, operations in schema.get("paths", {}).items():
        for method, operation in operations.items():
            if method in _METHODS:
                _declare(operation["responses"], method, with_parameters="{" in path)
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
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
