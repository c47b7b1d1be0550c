"""Whatever stands in a body that doesn't belong there: it is refused as declared, and changes nothing."""

import gzip
import json
from typing import Any, Final

import pytest

from tests.integration.hostile.doors import BRANCH, DOORS, WRONG, Door
from tests.integration.hostile.programs import Programs

INVALID: Final = (422, "invalid-request")

every_door = pytest.mark.parametrize("door", DOORS, ids=str)


@pytest.fixture(scope="module")
def shop(programs: Programs) -> Programs:
    """The programs, with something in them; after the tests nothing of that may have changed."""
    programs.send("PUT", "stock", "/products/p", {"onHand": 100})
    programs.send("PUT", "stock", "/products/doors", {"onHand": 5})
    programs.send("PUT", "payment", "/accounts/c", {"balance": 1_000})
    body = {"transactionId": "manual", "mode": "manual", "timeoutSeconds": 3_600, "branches": [BRANCH]}
    assert programs.send("POST", "coordinator", "/transactions", body).status == 201
    return programs


def _everything(programs: Programs) -> dict[str, Any]:
    """Return all that a refused request must leave alone."""
    paths = {
        "order": ("/orders", "/order-reservations"),
        "stock": ("/products", "/stocks", "/products/doors/adjustments"),
        "payment": ("/accounts", "/payments"),
        "coordinator": ("/transactions",),
    }
    return {
        f"{name}{path}": programs.read(name, f"{path}?limit=500")
        for name, each in paths.items()
        for path in each
    }


@every_door
def test_wrong_values_are_refused(shop: Programs, door: Door) -> None:
    before = _everything(shop)
    answers = {}
    for field, kind in door.fields.items():
        for wrong in [*WRONG[kind], *(["null"] if field in door.required else [])]:
            answers[field, wrong[:40]] = _send(shop, door, _spelled(door.body, field, wrong))
    assert {case: told for case, told in answers.items() if told != INVALID} == {}
    assert _everything(shop) == before


@every_door
def test_unknown_missing_and_repeated_fields_are_refused(shop: Programs, door: Door) -> None:
    before = _everything(shop)
    whole = json.dumps(door.body)[1:-1]
    bodies = {f"without {name}": json.dumps(_without(door.body, name)) for name in door.required}
    for extra in ('"x":1', '"__proto__":{}', '"":null', '"ORDERID":"a"', '"order_id":"a"', '"\\u0000":1'):
        bodies[f"with {extra}"] = f"{{{whole},{extra}}}"
    for name, value in door.body.items():
        bodies[f"{name} twice"] = f"{{{whole},{json.dumps(name)}:{json.dumps(value)}}}"
    answers = {case: _send(shop, door, body.encode()) for case, body in bodies.items()}
    assert {case: told for case, told in answers.items() if told != INVALID} == {}
    assert _everything(shop) == before


@every_door
def test_what_is_no_json_object_is_refused(shop: Programs, door: Door) -> None:
    before = _everything(shop)
    whole = json.dumps(door.body).encode()
    bodies: dict[str, bytes] = {
        "a list": b"[" + whole + b"]",
        "a text": json.dumps(whole.decode()).encode(),
        "a number": b"1",
        "true": b"true",
        "cut off": whole[:-1],
        "two of them": whole + whole,
        "a comma too many": whole[:-1] + b",}",
        "a comment": b"/**/" + whole,
        "single quotes": whole.replace(b'"', b"'"),
        "not UTF-8": whole[:-1] + b',"x":"\xff"}',
        "a mark before it": b"\xef\xbb\xbf" + whole,
        "UTF-16": whole.decode().encode("utf-16"),
        "UTF-32": whole.decode().encode("utf-32-le"),
        "UTF-16 with 1.0": whole.replace(b": 1", b": 1.0").decode().encode("utf-16"),
        "a mark before 1.0": b"\xef\xbb\xbf" + whole.replace(b": 1", b": 1.0"),
        "NUL bytes": b"\0" * 100,
        "noise": bytes(range(256)),
        "a form": b"orderId=1&productId=2",
        "XML": b"<?xml version='1.0'?><order/>",
        "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00",
        "compressed": gzip.compress(whole),
        "spaces": b"  \n ",
        "ten thousand lists": b"[" * 10_000,
        "ten thousand objects": b'{"a":' * 10_000,
        "a field ten thousand deep": whole[:-1] + b',"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        "a field of digits": whole[:-1] + b',"x":' + b"9" * 20_000 + b"}",
    }
    answers = {case: _send(shop, door, body) for case, body in bodies.items()}
    assert {case: told for case, told in answers.items() if told != INVALID} == {}
    assert _everything(shop) == before


@every_door
def test_what_does_not_claim_to_be_json_is_refused(shop: Programs, door: Door) -> None:
    before = _everything(shop)
    types = ["", "text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data"]
    types += [
        "application/json; charset=utf-16",
        "application/jsonp",
        "text/json",
        "*/*",
        "json",
        "\xff",
        ";",
    ]
    body = json.dumps(door.body).encode()
    answers = {
        kind: shop.send(door.method, door.program, door.path, body, {"Content-Type": kind}).told
        for kind in types
    }
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answers["gzip"] = shop.send(door.method, door.program, door.path, gzip.compress(body), packed).told
    expected = (415, "unsupported-media-type")
    assert {case: told for case, told in answers.items() if told != expected} == {}
    assert _everything(shop) == before


@every_door
def test_a_body_over_the_limit_is_refused_however_it_comes(shop: Programs, door: Door) -> None:
    before = _everything(shop)
    limit = 65_536
    body = json.dumps(door.body).encode()
    over = body + b" " * (limit + 1 - len(body))
    expected = (413, "body-too-large")

    def send(content: bytes | None = None, chunks: list[bytes] | None = None) -> tuple[int, str]:
        return shop.send(door.method, door.program, door.path, content, chunks=chunks).told

    assert send(over) == expected
    assert send(b" " * 5_000_000) == expected
    assert send(chunks=[over]) == expected
    assert send(chunks=[b" " * 1_000] * 66) == expected
    assert send(chunks=[b" " * 50_000] * 40) == expected
    assert _everything(shop) == before
    # It is not too large at the limit itself: what is wrong here is only the field too many.
    at_the_limit = json.dumps({**door.body, "x": ""}).encode()
    at_the_limit += b" " * (limit - len(at_the_limit))
    assert send(at_the_limit) == INVALID
    assert send(chunks=[at_the_limit[:1], at_the_limit[1:]]) == INVALID


@every_door
def test_the_body_itself_is_taken(shop: Programs, door: Door) -> None:
    """Otherwise all that is refused above might be refused for another reason."""
    answer = shop.send(door.method, door.program, door.path, door.body)
    allowed = {"/payments/captured/refunds": 404, "/order-reservations": 422}
    expected = allowed.get(door.path)
    assert answer.status == expected if expected else answer.status in (200, 201), answer


@pytest.mark.parametrize("depth", [10, 100, 150, 180, 190, 195, 196, 197, 198, 199, 200, 201, 250, 5_000])
def test_a_claim_of_any_depth_is_refused_and_leaves_the_coordinator_readable(
    shop: Programs, depth: int
) -> None:
    """What a claim may be is the participant's business, so the coordinator takes any object."""
    deep = '{"a":' * depth + "1" + "}" * depth
    body = f'{{"transactionId":"deep-{depth}","branches":[{{"participant":"stock","claim":{deep}}}]}}'
    told = shop.send("POST", "coordinator", "/transactions", body.encode()).told
    assert told in [INVALID, (409, "invalid-request")]
    assert shop.send("GET", "coordinator", f"/transactions/deep-{depth}").status in (200, 404)
    assert shop.send("GET", "coordinator", f"/transactions/deep-{depth}/events").status in (200, 404)
    assert shop.send("GET", "coordinator", "/transactions?limit=500").status == 200


@pytest.mark.parametrize("value", ["9" * 400, "-0.0", "1e308", "1e-400", '"\\u0000"', '"\\uffff"', "[[],{}]"])
def test_odd_values_in_a_claim_end_as_the_participants_refusal(shop: Programs, value: str) -> None:
    body = f'{{"branches":[{{"participant":"stock","claim":{{"productId":"p","qty":{value}}}}}]}}'
    answer = shop.send("POST", "coordinator", "/transactions", body.encode())
    assert answer.told == (409, "invalid-request")
    assert answer.json()["participant"] == "stock"


@pytest.mark.parametrize("value", ["1e400", "NaN", "-Infinity", '{"a":1,"a":2}'])
def test_claims_that_no_json_can_carry_are_refused_at_once(shop: Programs, value: str) -> None:
    body = f'{{"branches":[{{"participant":"stock","claim":{{"productId":"p","qty":{value}}}}}]}}'
    assert shop.send("POST", "coordinator", "/transactions", body.encode()).told == INVALID


def _spelled(body: dict[str, Any], field: str, value: str) -> bytes:
    """Write a body with one field's value spelled as given."""
    pairs = {**{name: json.dumps(one) for name, one in body.items()}, field: value}
    return ("{" + ",".join(f"{json.dumps(name)}:{one}" for name, one in pairs.items()) + "}").encode()


def _without(body: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != field}


def _send(programs: Programs, door: Door, body: bytes) -> tuple[int, str]:
    return programs.send(door.method, door.program, door.path, body).told
