"""The raw baseline: a bare FastAPI participant that stores nothing, and so keeps nothing safe.

`python -m cli.bench.raw PORT`. Typed body and `response_model` as the framework's tutorial has them, on
uvicorn with httptools and without an access log: what six calls an order cost when nobody cares what happens
to them.
"""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Claim(BaseModel):
    order_id: str
    customer_id: str
    product_id: str
    qty: int
    payment_amt: int


class Reservation(BaseModel):
    id: str
    uri: str
    state: str
    expires: str


def create_app() -> FastAPI:
    """Return an app with a Try and a Confirm that remember nothing."""
    app = FastAPI()

    @app.post("/reservations/{reservation_id}", status_code=201, response_model=Reservation)
    async def reserve(reservation_id: str, claim: Claim) -> Reservation:
        assert claim.qty > 0
        return _reservation(reservation_id, "TRIED")

    @app.put("/reservations/{reservation_id}", response_model=Reservation)
    async def confirm(reservation_id: str) -> Reservation:
        return _reservation(reservation_id, "CONFIRMED")

    return app


def main() -> None:
    port = int(sys.argv[1])
    uvicorn.run(
        create_app(), host="127.0.0.1", port=port, http="httptools", access_log=False, log_level="warning"
    )


def _reservation(reservation_id: str, state: str) -> Reservation:
    uri = f"/reservations/{reservation_id}"
    return Reservation(id=reservation_id, uri=uri, state=state, expires="2030-01-01T00:00:00Z")


if __name__ == "__main__":
    main()
