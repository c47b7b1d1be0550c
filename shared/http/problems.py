"""Problems (RFC 9457): how every error looks from outside, and how routes declare theirs."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from shared.errors import HandfastError, Refused, Transient

PROBLEM_JSON: Final = "application/problem+json"
PROBLEM_TYPE: Final = "urn:handfast:problem:"


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    field: str = Field(description="Where, as a dotted path.")
    detail: str = Field(description="What is wrong there.")


class Problem(BaseModel):
    """An error. Further members depend on its type."""

    model_config = ConfigDict(extra="allow", serialize_by_alias=True)

    type: str = Field(description="What went wrong: urn:handfast:problem:<slug>.")
    title: str = Field(description="The same in words.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What happened and what to do about it.")
    errors: list[FieldError] | None = Field(None, exclude_if=lambda errors: errors is None)

    @property
    def slug(self) -> str:
        return self.type.removeprefix(PROBLEM_TYPE)


def problem_of(error: HandfastError) -> Problem:
    """Describe an error for the outside; what is neither Refused nor Transient becomes a bare 500."""
    if isinstance(error, Refused):
        return problem(error.slug, error.status, error.detail, **error.extra)
    if isinstance(error, Transient):
        return problem(error.slug, error.status, error.detail)
    return internal_error()


def problem(slug: str, status: int, detail: str, **extra: Any) -> Problem:
    """Build a problem; extra: further members (camelCase), never one of Problem's own."""
    return Problem(
        type=PROBLEM_TYPE + slug,
        title=slug.replace("-", " ").capitalize(),
        status=status,
        detail=detail,
        **extra,
    )


def internal_error() -> Problem:
    """Return what is said of our own mistakes: nothing but that there was one."""
    return problem("internal-error", 500, "Something went wrong here; the log tells more. Try again later.")


DESCRIPTIONS: Final = {
    401: "Not authenticated",
    402: "Payment declined",
    403: "Not allowed",
    404: "Unknown",
    405: "No such method here",
    408: "The body didn't arrive in time",
    409: "Refused",
    410: "Too late",
    412: "The precondition doesn't hold",
    413: "The body is too large",
    415: "The body is no JSON",
    422: "Invalid request",
    425: "Too early: ask again",
    500: "Our mistake",
    503: "Not now: try again",
}


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of a route for the problems that it may answer.

    405, 422, 500 and 503 (and 408, 413, 415 where a body may come, 404 where the path has parameters) are
    declared for every route without being named.
    """
    return {status: _problem_response(status) for status in statuses}


def _problem_response(status: int) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": DESCRIPTIONS.get(status, "Problem"),
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status == 405:
        response["headers"] = {"Allow": {"description": "The methods to use.", "schema": {"type": "string"}}}
    if status == 503:
        response["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}}
        }
    return response
