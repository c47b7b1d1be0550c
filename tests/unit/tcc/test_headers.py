"""The protocol's headers: read once, refused where they are malformed."""

import pytest

from shared.errors import Refused
from shared.tcc.headers import TccHeaders


def read(**headers: str) -> TccHeaders:
    return TccHeaders.read(
        (f"tcc-{name.replace('_', '-')}".encode(), value.encode("latin-1")) for name, value in headers.items()
    )


def test_none_of_them_is_a_standalone_request() -> None:
    headers = TccHeaders.read([(b"host", b"here"), (b"content-type", b"application/json")])

    assert headers == TccHeaders()
    assert not headers.is_try


def test_all_three_make_a_try() -> None:
    headers = read(transaction_id="tx", branch_id="b", deadline="2026-11-21T09:30:00.250Z")

    assert headers == TccHeaders("tx", "b", 1_795_253_400_250)
    assert headers.is_try


@pytest.mark.parametrize(
    "some", [{"transaction_id": "tx"}, {"branch_id": "b"}, {"transaction_id": "tx", "branch_id": "b"}]
)
def test_some_of_them_are_no_try(some: dict[str, str]) -> None:
    headers = read(**some)
    with pytest.raises(Refused, match="together"):
        _ = headers.is_try


def test_a_reason_alone_is_no_try() -> None:
    assert not read(reason="changed-my-mind").is_try


@pytest.mark.parametrize(
    ("name", "value"),
    [("transaction_id", "a/b"), ("branch_id", "x" * 65), ("deadline", "soon"), ("deadline", "2026-11-21")],
)
def test_a_malformed_one_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(Refused) as refused:
        read(**{name: value})

    assert refused.value.status == 422
    assert name.replace("_", "-") in refused.value.detail.lower()


def test_a_repeated_one_is_refused_even_if_equal() -> None:
    with pytest.raises(Refused, match="more than once"):
        TccHeaders.read([(b"tcc-branch-id", b"b"), (b"tcc-branch-id", b"b")])


def test_a_reason_is_cleaned_and_cut() -> None:
    assert read(reason="no\tmore \xe9").reason == "no?more ?"
    assert read(reason="x" * 300).reason == "x" * 200
