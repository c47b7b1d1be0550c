------------------------------- MODULE Tables -------------------------------
(* What the code says, read from shared/tcc/protocol.py and coordinator/transaction.py by
   tests/model/tables.py. `make docs` writes this file; a test compares it with the code. *)

FenceStates ==
    {"ABSENT", "TRYING", "TRIED", "CONFIRMING", "CONFIRMED", "CANCELLING", "CANCELLED"}

TransactionStates ==
    {"TRYING", "TRIED", "CONFIRMING", "CONFIRMED", "CANCELLING", "CANCELLED"}

BranchStates ==
    {"TRYING", "TRIED", "REFUSED", "CLOSED", "CONFIRMING", "CONFIRMED", "CANCELLING", "CANCELLED"}

\* What a participant does: by the state of its fence, by the phase of the command.
Verdicts ==
    [
     ABSENT |-> [try |-> "apply", confirm |-> "missing", cancel |-> "entomb"],
     TRYING |-> [try |-> "wait", confirm |-> "wait", cancel |-> "undo"],
     TRIED |-> [try |-> "repeat", confirm |-> "apply", cancel |-> "apply"],
     CONFIRMING |-> [try |-> "repeat", confirm |-> "apply", cancel |-> "conflict"],
     CONFIRMED |-> [try |-> "repeat", confirm |-> "repeat", cancel |-> "conflict"],
     CANCELLING |-> [try |-> "refuse", confirm |-> "conflict", cancel |-> "wait"],
     CANCELLED |-> [try |-> "refuse", confirm |-> "conflict", cancel |-> "repeat"]
    ]

\* What a branch becomes in the coordinator's row: by what is heard, by its state (or it stays).
Learned ==
    [
     ok |-> [TRYING |-> "TRIED"],
     no |-> [TRYING |-> "REFUSED"],
     no_to_added |-> [TRYING |-> "CLOSED"],
     silence |-> <<>>,
     confirmed |-> [CONFIRMING |-> "CONFIRMED"],
     confirmed_by_call |-> [CONFIRMING |-> "CONFIRMED"],
     confirm_unanswered |-> <<>>,
     dead |-> <<>>,
     cancelled |-> [CANCELLING |-> "CANCELLED"],
     cancel_unanswered |-> <<>>
    ]

\* What a branch becomes with the decision. Of a REFUSED one: its only Try was answered.
Decided ==
    [
     CONFIRMING |-> [TRIED |-> "CONFIRMING", CLOSED |-> "CLOSED"],
     CANCELLING |-> [TRYING |-> "CANCELLING", TRIED |-> "CANCELLING", REFUSED |-> "REFUSED", CLOSED |-> "CLOSED"]
    ]

\* What becomes of a TRYING transaction: by its mode, by the time, by the states of its branches.
Judged ==
    [
     auto |-> [
         early |-> [
             CANCELLING |-> {
                     {"REFUSED"},
                     {"TRYING", "REFUSED"},
                     {"TRIED", "REFUSED"},
                     {"REFUSED", "CLOSED"},
                     {"TRYING", "TRIED", "REFUSED"},
                     {"TRYING", "REFUSED", "CLOSED"},
                     {"TRIED", "REFUSED", "CLOSED"},
                     {"TRYING", "TRIED", "REFUSED", "CLOSED"}
                    },
             CONFIRMING |-> {
                     {"TRIED"},
                     {"CLOSED"},
                     {"TRIED", "CLOSED"}
                    },
             TRYING |-> {
                     {"TRYING"},
                     {"TRYING", "TRIED"},
                     {"TRYING", "CLOSED"},
                     {"TRYING", "TRIED", "CLOSED"}
                    }
            ],
         margin |-> [
             CANCELLING |-> {
                     {"TRYING"},
                     {"TRIED"},
                     {"REFUSED"},
                     {"CLOSED"},
                     {"TRYING", "TRIED"},
                     {"TRYING", "REFUSED"},
                     {"TRYING", "CLOSED"},
                     {"TRIED", "REFUSED"},
                     {"TRIED", "CLOSED"},
                     {"REFUSED", "CLOSED"},
                     {"TRYING", "TRIED", "REFUSED"},
                     {"TRYING", "TRIED", "CLOSED"},
                     {"TRYING", "REFUSED", "CLOSED"},
                     {"TRIED", "REFUSED", "CLOSED"},
                     {"TRYING", "TRIED", "REFUSED", "CLOSED"}
                    }
            ],
         past |-> [
             CANCELLING |-> {
                     {"TRYING"},
                     {"TRIED"},
                     {"REFUSED"},
                     {"CLOSED"},
                     {"TRYING", "TRIED"},
                     {"TRYING", "REFUSED"},
                     {"TRYING", "CLOSED"},
                     {"TRIED", "REFUSED"},
                     {"TRIED", "CLOSED"},
                     {"REFUSED", "CLOSED"},
                     {"TRYING", "TRIED", "REFUSED"},
                     {"TRYING", "TRIED", "CLOSED"},
                     {"TRYING", "REFUSED", "CLOSED"},
                     {"TRIED", "REFUSED", "CLOSED"},
                     {"TRYING", "TRIED", "REFUSED", "CLOSED"}
                    }
            ]
        ],
     manual |-> [
         early |-> [
             CANCELLING |-> {
                     {"REFUSED"},
                     {"TRYING", "REFUSED"},
                     {"TRIED", "REFUSED"},
                     {"REFUSED", "CLOSED"},
                     {"TRYING", "TRIED", "REFUSED"},
                     {"TRYING", "REFUSED", "CLOSED"},
                     {"TRIED", "REFUSED", "CLOSED"},
                     {"TRYING", "TRIED", "REFUSED", "CLOSED"}
                    },
             TRIED |-> {
                     {"TRIED"},
                     {"CLOSED"},
                     {"TRIED", "CLOSED"}
                    },
             TRYING |-> {
                     {"TRYING"},
                     {"TRYING", "TRIED"},
                     {"TRYING", "CLOSED"},
                     {"TRYING", "TRIED", "CLOSED"}
                    }
            ],
         margin |-> [
             CANCELLING |-> {
                     {"REFUSED"},
                     {"TRYING", "REFUSED"},
                     {"TRIED", "REFUSED"},
                     {"REFUSED", "CLOSED"},
                     {"TRYING", "TRIED", "REFUSED"},
                     {"TRYING", "REFUSED", "CLOSED"},
                     {"TRIED", "REFUSED", "CLOSED"},
                     {"TRYING", "TRIED", "REFUSED", "CLOSED"}
                    },
             TRIED |-> {
                     {"TRIED"},
                     {"CLOSED"},
                     {"TRIED", "CLOSED"}
                    },
             TRYING |-> {
                     {"TRYING"},
                     {"TRYING", "TRIED"},
                     {"TRYING", "CLOSED"},
                     {"TRYING", "TRIED", "CLOSED"}
                    }
            ],
         past |-> [
             CANCELLING |-> {
                     {"TRYING"},
                     {"TRIED"},
                     {"REFUSED"},
                     {"CLOSED"},
                     {"TRYING", "TRIED"},
                     {"TRYING", "REFUSED"},
                     {"TRYING", "CLOSED"},
                     {"TRIED", "REFUSED"},
                     {"TRIED", "CLOSED"},
                     {"REFUSED", "CLOSED"},
                     {"TRYING", "TRIED", "REFUSED"},
                     {"TRYING", "TRIED", "CLOSED"},
                     {"TRYING", "REFUSED", "CLOSED"},
                     {"TRIED", "REFUSED", "CLOSED"},
                     {"TRYING", "TRIED", "REFUSED", "CLOSED"}
                    }
            ]
        ]
    ]

\* With which mixes of branch states a decided transaction is at its end.
Ended ==
    [
     CONFIRMING |-> {{"CLOSED"}, {"CONFIRMED"}, {"CLOSED", "CONFIRMED"}},
     CANCELLING |-> {{"REFUSED"}, {"CLOSED"}, {"CANCELLED"}, {"REFUSED", "CLOSED"}, {"REFUSED", "CANCELLED"}, {"CLOSED", "CANCELLED"}, {"REFUSED", "CLOSED", "CANCELLED"}}
    ]

\* Every change of state that is possible, of a transaction and of a branch in it.
TransactionEdges ==
    {
     <<"CANCELLING", "CANCELLED">>,
     <<"CONFIRMING", "CONFIRMED">>,
     <<"TRIED", "CANCELLING">>,
     <<"TRIED", "CONFIRMING">>,
     <<"TRIED", "TRYING">>,
     <<"TRYING", "CANCELLING">>,
     <<"TRYING", "CONFIRMING">>,
     <<"TRYING", "TRIED">>
    }

BranchEdges ==
    {
     <<"CANCELLING", "CANCELLED">>,
     <<"CONFIRMING", "CONFIRMED">>,
     <<"TRIED", "CANCELLING">>,
     <<"TRIED", "CONFIRMING">>,
     <<"TRYING", "CANCELLING">>,
     <<"TRYING", "CLOSED">>,
     <<"TRYING", "REFUSED">>,
     <<"TRYING", "TRIED">>
    }

=============================================================================
