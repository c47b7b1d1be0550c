"""The conformance kit: drives a participant in any language through the participant contract, over HTTP.

    exchange.py    one request and its answer, and the ways in which an answer breaks the contract
    target.py      what the user says of the participant: its address, claims it takes, what to watch
    drive.py       the requests of one case, repeated where the answer is unknown, and tidied up after
    arbiters.py    the coordinator that the participant asks: one that the kit serves, or a real one
    cases.py       all cases; try_cases, decision_cases, race_cases, expiry_cases, malformed_cases define them
    runner.py      runs them; report.py and junit.py write down what was seen

The contract itself is docs/participants.md; every case names the section that it checks.
"""
