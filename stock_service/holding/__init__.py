"""How a hold is decided when many want the same product: four ways, one file each.

Each is right under the same tests; they differ in who waits for whom (docs/adr/0013-four-ways-to-hold.md).
`atomic` checks and changes in one statement. `pessimistic` locks the row, then looks. `optimistic` looks
before the transaction and changes only what is still as it was seen. `gathered` holds many claims with one
statement a product, for a queue with a single writer.
"""
