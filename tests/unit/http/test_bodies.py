"""Whatever a client sends as a body, it is taken exactly as documented or refused as a problem."""

import httpx
import pytest

JSON = {"content-type": "application/json"}
PATH = "/api/v1/orders"


def assert_problem(answer: httpx.Response, status: int, slug: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["type"] == f"urn:handfast:problem:{slug}"
    assert told["status"] == status
    assert told["detail"]


async def test_a_well_formed_body_is_taken(client: httpx.AsyncClient) -> None:
    body = (
        b'{"orderId":"a","items":[{"productId":"1","qty":2}],"claim":{"deep":[1,{"a":null}]},"note":"a: b"}'
    )
    answer = await client.post(PATH, content=body, headers=JSON)
    assert answer.status_code == 201
    assert answer.headers["location"] == "/api/v1/orders/a"
    assert answer.json()["orderId"] == "a"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="cut off"),
        pytest.param(b"", id="empty"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"text"', id="a string"),
        pytest.param(b"\x00\xff\xfe", id="garbage"),
        pytest.param(b'\xef\xbb\xbf{"qty":1}', id="a byte order mark"),
        pytest.param('{"qty":1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"note":"\xff"}', id="invalid UTF-8"),
        pytest.param(b'{"note":"\\ud800"}', id="a lone surrogate"),
        pytest.param(b'{"note":"a\\u0000b"}', id="a NUL"),
        pytest.param(b'{"note":"a\\u0007b"}', id="a control character"),
        pytest.param(b'{"note":""}', id="an empty text"),
        pytest.param(b'{"qty":"1"}', id="a string for an integer"),
        pytest.param(b'{"qty":true}', id="true for an integer"),
        pytest.param(b'{"qty":1.5}', id="a fraction for an integer"),
        pytest.param(b'{"qty":NaN}', id="NaN"),
        pytest.param(b'{"qty":0}', id="too few"),
        pytest.param(b'{"qty":-1}', id="negative"),
        pytest.param(b'{"qty":1000000001}', id="too many"),
        pytest.param(b'{"qty":1' + b"0" * 5000 + b"}", id="a huge integer"),
        pytest.param(b'{"qty":1e999}', id="a huge float"),
        pytest.param(b'{"qty":1e300}', id="a huge integer in short"),
        pytest.param(b'{"qty":2.0,"qty":2.0}', id="a field twice that has to be respelled"),
        pytest.param(b'{"orderId":1}', id="a number for an id"),
        pytest.param(b'{"orderId":"a/b"}', id="a slash in an id"),
        pytest.param(b'{"orderId":"a\\n"}', id="a line break after an id"),
        pytest.param(b'{"orderId":"' + b"a" * 65 + b'"}', id="an overlong id"),
        pytest.param(b'{"mode":"else"}', id="none of the choices"),
        pytest.param(b'{"order_id":"a"}', id="an attribute's name"),
        pytest.param(b'{"unknown":1}', id="an unknown field"),
        pytest.param(b'{"items":[{"productId":"1","qty":1,"x":1}]}', id="an unknown field inside"),
        pytest.param(b'{"qty":1,"qty":2}', id="a field twice"),
        pytest.param(b'{"qty":1,"\\u0071ty":2}', id="a field twice, once in disguise"),
        pytest.param(b'{"items":[{"productId":"1","qty":1,"qty":1}]}', id="a field twice inside"),
        pytest.param(b'{"claim":{"a":1,"a":2}}', id="a name twice in free-form values"),
        pytest.param(b'{"claim":{"a":NaN}}', id="NaN in free-form values"),
        pytest.param(b'{"claim":{"a":-Infinity}}', id="infinity in free-form values"),
        pytest.param(b'{"claim":{"a":1e999}}', id="a huge float in free-form values"),
        pytest.param(b"[" * 30_000, id="nested without end"),
        pytest.param(b'{"claim":' + b'{"a":' * 3_000 + b"1" + b"}" * 3_000 + b"}", id="nested too deep"),
    ],
)
async def test_a_malformed_body_is_a_422_problem(client: httpx.AsyncClient, body: bytes) -> None:
    assert_problem(await client.post(PATH, content=body, headers=JSON), 422, "invalid-request")


@pytest.mark.parametrize("qty", ["2.0", "2e0", "20E-1", "2"])
async def test_an_integer_may_be_spelled_as_json_allows(client: httpx.AsyncClient, qty: str) -> None:
    body = f'{{"productId":"1","qty":{qty}}}'
    answer = await client.post(PATH + "/a/retries", content=body, headers=JSON)
    assert answer.status_code == 202
    assert answer.json()["line"]["qty"] == 2
    assert isinstance(answer.json()["line"]["qty"], int)


async def test_the_problem_names_the_fields_that_are_wrong(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, content=b'{"items":[{"qty":"1","productId":"1"}]}', headers=JSON)
    assert answer.json()["errors"] == [{"field": "items.0.qty", "detail": "Input should be a valid integer"}]


async def test_the_problem_stays_small_whatever_was_sent(client: httpx.AsyncClient) -> None:
    body = b'{"' + b'":1,"'.join(b"x" * 200 + b"%d" % n for n in range(200)) + b'":1}'
    answer = await client.post(PATH, content=body, headers=JSON)
    assert_problem(answer, 422, "invalid-request")
    assert len(answer.content) < 4_000


async def test_a_body_is_bounded_by_its_declared_length(client: httpx.AsyncClient) -> None:
    assert_problem(await client.post(PATH, content=b" " * 65_537, headers=JSON), 413, "body-too-large")
    fits = b'{"qty":1' + b" " * (65_536 - 9) + b"}"
    assert (await client.post(PATH, content=fits, headers=JSON)).status_code == 201


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "jsonp",
        "\xe9",
    ],
)
async def test_what_is_not_json_is_a_415_problem(client: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type.encode("latin-1")}
    for method in ("POST", "PUT", "DELETE"):
        answer = await client.request(method, PATH + "/a", content=b"{}", headers=headers)  # type: ignore[arg-type]
        if method == "POST":
            answer = await client.post(PATH, content=b"{}", headers=headers)  # type: ignore[arg-type]
        assert_problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=UTF-8", "application/vnd.shop+json"]
)
async def test_json_is_known_under_all_its_names(client: httpx.AsyncClient, content_type: str) -> None:
    answer = await client.post(PATH, content=b"{}", headers={"content-type": content_type})
    assert answer.status_code == 201


async def test_a_put_without_a_body_may_have_any_content_type(client: httpx.AsyncClient) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded"):
        answer = await client.put(PATH + "/a", headers={"content-type": content_type})
        assert answer.status_code == 204


async def test_a_missing_body_that_claims_to_be_text_is_a_415_problem(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, content=b"", headers={"content-type": "text/plain"})
    assert_problem(answer, 415, "unsupported-media-type")


async def test_an_optional_body_may_be_left_out(client: httpx.AsyncClient) -> None:
    for body, headers in ((b"", {}), (b"null", JSON)):
        answer = await client.post(PATH + "/a/retries", content=body, headers=headers)
        assert answer.json() == {"orderId": "a", "line": None}
    answer = await client.post(PATH + "/a/retries", json={"productId": "p", "qty": 2})
    assert answer.json()["line"] == {"productId": "p", "qty": 2}
    assert_problem(await client.post(PATH + "/a/retries", json={}), 422, "invalid-request")
