"""Methods, paths and framing that no client library would send: each answer is a declared one.

What is no HTTP at all never reaches a program: the server itself answers 400 and closes.
"""

import socket
from typing import Final

import pytest

from tests.integration.hostile.programs import Programs
from tests.integration.hostile.wire import raw
from tests.simulation.programs import PROGRAMS

every_program = pytest.mark.parametrize("program", PROGRAMS)

FIXED: Final = {
    "coordinator": ("/transactions", "GET, HEAD, OPTIONS, POST"),
    "order": ("/orders", "GET, HEAD, OPTIONS, POST"),
    "stock": ("/products", "GET, HEAD, OPTIONS"),
    "payment": ("/payments", "GET, HEAD, OPTIONS, POST"),
}


@every_program
@pytest.mark.parametrize(
    "method", ["PATCH", "PROPFIND", "TRACE", "QUERY", "DELETE", "PUT", "LOCK", "M-SEARCH"]
)
def test_a_method_that_an_address_lacks_is_405_and_names_those_it_has(
    programs: Programs, program: str, method: str
) -> None:
    path, allowed = FIXED[program]
    answer = programs.send(method, program, path)
    assert answer.told == (405, "method-not-allowed")
    assert answer.headers["allow"] == allowed


@every_program
def test_head_and_options_are_answered_without_a_body(programs: Programs, program: str) -> None:
    path, allowed = FIXED[program]
    head = programs.send("HEAD", program, path)
    assert (head.status, head.body) == (200, b"")
    options = programs.send("OPTIONS", program, path)
    assert (options.status, options.body, options.headers["allow"]) == (204, b"", allowed)
    assert programs.send("HEAD", program, "/nothing").status == 404
    assert programs.send("OPTIONS", program, "/nothing").told == (404, "not-found")


@every_program
@pytest.mark.parametrize(
    "path",
    [
        *(
            "///",
            "//",
            "//api",
            "//api/v1",
            "//api/v1/",
            "//api/v2/orders",
            "//API/V1/ORDERS",
            "//favicon.ico",
        ),
        *(
            "//api/v1//orders",
            "//%2e%2e/%2e%2e/etc/passwd",
            "//../../etc/passwd",
            "//api/v1/orders%00",
            "//%",
        ),
        *(
            "//livez/",
            "//livez%0a",
            "//readyz%00",
            "//metrics/x",
            "//docs/../livez",
            "//.env",
            "//*",
            "//;a=b",
        ),
        "//" + "a" * 20_000,
        "//" + "a/" * 5_000,
    ],
)
def test_an_address_where_nothing_is_is_404(programs: Programs, program: str, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        assert programs.send(method, program, path).told == (404, "not-found")


@every_program
def test_a_hostile_query_is_refused_or_passed_over(programs: Programs, program: str) -> None:
    path, _ = FIXED[program]
    refused = [
        "limit=0",
        "limit=-1",
        "limit=501",
        "limit=1.5",
        "limit=x",
        "limit=",
        "limit=1e2",
        "limit=true",
    ]
    refused += [
        "limit=%D9%A1",
        "limit=" + "9" * 5_000,
        "limit=0x1",
        "limit=1&limit=0",
        "limit=%00",
        "limit=%ff",
    ]
    refused += [
        "cursor=",
        "cursor=x",
        "cursor=%00",
        "cursor=%ff",
        "cursor=" + "a" * 513,
        "cursor=W10",
        "cursor=e30",
    ]
    # JSON of the wrong shape, and what is no base64.
    refused += [
        f"cursor={one}" for one in ("WyJhIiwiYiJd", "WzFd", "W251bGxd", "W1siYSJdXQ", "W3RydWVd", "ImEi")
    ]
    refused += [
        f"cursor={one}"
        for one in (
            "WyJcdWQ4MDAiXQ",
            "WyJcdTAwMDAiXQ",
            "eyJhIjoxfQ",
            "TmFO",
            "WyJhIl0=====",
            "W_.-",
            "WyJhIl0%0a",
        )
    ]
    refused += ["cursor=" + "W1tb" * 100]
    answers = {query: programs.send("GET", program, f"{path}?{query}").told for query in refused}
    assert {query: told for query, told in answers.items() if told != (422, "invalid-request")} == {}
    passed_over = [
        "",
        "x=1",
        "%%%",
        "&&&&",
        "=",
        "limit=1&x[]=2",
        "a=" + "b" * 20_000,
        "&".join(["x=1"] * 1_500),
    ]
    # A cursor that says "after this id" is one that a list gave or not; what it says is no secret.
    passed_over += ["cursor=WyJhIl0", "cursor=WyInLS0iXQ"]
    answers = {query: programs.send("GET", program, f"{path}?{query}").told for query in passed_over}
    assert {query: told for query, told in answers.items() if told != (200, "")} == {}


@pytest.mark.parametrize(
    ("program", "query"),
    [
        *(
            ("order", query)
            for query in ("orders?status=x", "orders?status=pending", "orders?customerId=a/b")
        ),
        *(("order", query) for query in ("orders?customerId=", "orders?customerId=%00", "orders?status=")),
        *(("stock", query) for query in ("stocks?state=x", "stocks?state=ABSENT", "stocks?state=")),
        ("payment", "payments?state=tried"),
        ("order", "order-reservations?state=%ff"),
        *(("coordinator", query) for query in ("transactions?state=x", "transactions?attention=maybe")),
        *(
            ("stock", query)
            for query in ("dead-letters?state=x", "dead-letters?topic=a%20b", "dead-letters?topic=")
        ),
    ],
)
def test_a_filter_that_is_none_is_refused(programs: Programs, program: str, query: str) -> None:
    assert programs.send("GET", program, f"/{query}").told == (422, "invalid-request")


@every_program
@pytest.mark.parametrize(
    "head",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0" * 64 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"get /livez HTTP/1.1\r\nHost: a\r\n\r\n",
        b"BREW /livez HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"GET /api/v1/\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /api/v1/orders HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/orders HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"POST /api/v1/orders HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/v1/orders HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, identity\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_400(programs: Programs, program: str, head: bytes) -> None:
    assert 400 <= raw(programs.ports[program], "GET", head).status < 500
    assert programs.send("GET", program, "//livez").status == 200


@every_program
def test_a_client_that_leaves_in_the_middle_of_a_body_changes_nothing(
    programs: Programs, program: str
) -> None:
    paths = {"coordinator": "/transactions", "order": "/orders", "stock": "/stocks", "payment": "/payments"}
    path = paths[program]
    before = programs.read(program, f"{path}?limit=500")
    for framing in (b"Content-Length: 500", b"Transfer-Encoding: chunked"):
        head = b"POST /api/v1%b HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%b\r\n\r\n"
        with socket.create_connection(("127.0.0.1", programs.ports[program])) as connection:
            connection.sendall(head % (path.encode(), framing) + b'{"productId":')
    assert programs.read(program, f"{path}?limit=500") == before
    assert programs.send("GET", program, "//livez").status == 200


@every_program
def test_broken_chunks_are_answered_and_hold_nobody_up(programs: Programs, program: str) -> None:
    head = b"POST /api/v1/dead-letters/a/replays HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    for part in (b"zz\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n{}", b"2\r\n{}}}\r\n0\r\n\r\n"):
        assert 400 <= raw(programs.ports[program], "POST", head, [part]).status < 500
    assert programs.send("GET", program, "//livez").status == 200
