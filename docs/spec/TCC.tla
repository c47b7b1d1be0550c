-------------------------------- MODULE TCC --------------------------------
(* One transaction of Handfast: its initiator, its coordinator (several drivers with stale views, and the
   doors that change its row), its participants with their fences, and everything between them that loses,
   repeats, delays and reorders. docs/spec/README.md says what is modelled and what is not.

   What the code decides comes from the module Tables, which is written from the code: the participants' verdicts, what
   the coordinator learns, judges and decides. This module says when it is asked, and what travels.

   A rule that is named in Without is left out. The rules are listed below; with none left out the protocol
   is the one that docs/protocol.md describes. *)

EXTENDS Naturals, FiniteSets, TLC, Tables

CONSTANTS
    Begun,      \* the branches with which the transaction begins, one a participant
    Added,      \* ids for branches of one more participant, which may be added to a held transaction
    Initiator,  \* the branch that settles last and is held before the transaction begins, or "nobody"
    Mode,       \* "auto", or "manual": a held transaction
    Drivers,    \* the coordinator's drivers
    Refusing,   \* the branches whose Try may be refused
    Traceless,  \* those of which a refusal may leave no trace, so that another copy of the Try may hold
    Outside,    \* the branches with an external effect, of which nobody knows when it ends
    Poisoned,   \* the branches whose Confirm fails until somebody mends the cause
    LastTime,   \* how far time goes: see Times
    MostLost,   \* how many messages may be lost
    Without     \* the rules that are left out

Rules == {
    "compare-and-set",        \* a row is written only over the version that was read
    "every answer",           \* confirm only if every open branch answered done
    "durable unknown",        \* an inquiry about an unknown id writes a cancelled row before it is answered
    "ask",                    \* past its expiry a participant asks and does not cancel by itself
    "margin is not enough",   \* nor does it cancel by itself after the deadline
    "named inquiry",          \* an inquiry names its branch, and a closed one is told to cancel
    "tombstone",              \* a Cancel that finds no Try is remembered
    "idempotent confirm",     \* a repeated Confirm changes nothing
    "outcome repeated",       \* but sends its outcome again
    "publish again",          \* a Confirm that is not acknowledged is published again
    "initiator last",         \* the initiator's branch waits for the others
    "one open branch",        \* a participant has at most one open branch
    "dead letter stands",     \* a dead-lettered Confirm is decided, and never cancelled
    "look at dead letters",   \* the coordinator looks whether a dead-lettered Confirm was applied after all
    "deadline on Try",        \* a Try is refused past its deadline and the skew allowance
    "retention",              \* a fence is kept until all is over
    "retention after the end" \* which is counted from the end of the transaction, not from its deadline
    }

ASSUME /\ Without \subseteq Rules
       /\ Initiator \in Begun \cup {"nobody"}
       /\ Learned.confirmed = Learned.confirmed_by_call

VARIABLES
    row,      \* the coordinator's row: state, branches (by id), and those whose Confirm is known to be dead
    view,     \* what each driver read of it
    fence,    \* each participant's fence
    undo,     \* the branches that were cancelled while their external effect was under way
    applied,  \* how often each branch's Confirm took effect
    messages, \* everything that is or may still be on its way; taking one leaves it there to come again
    poison,   \* the branches whose Confirm fails now
    letters,  \* the branches with an open dead letter
    time,     \* an index of Times
    lost      \* how many messages were lost

vars == <<row, view, fence, undo, applied, messages, poison, letters, time, lost>>
coordinators == <<row, view>>
participants == <<fence, undo, applied, letters>>
world == <<poison, time, lost>>

Branches == Begun \cup Added
Nothing == "NOTHING"
Final == {"CONFIRMED", "CANCELLED"}
Undecided == {"TRYING", "TRIED"}
Held == {"TRYING", "TRIED"}

(* Times: decidable; too late to confirm by itself; past the deadline; past the skew allowance too, from when
   on a Try is refused; and past everything that topics and letters keep. *)
Margin == 1
Deadline == 2
Allowance == 3
Retention == 4
When == IF time = 0 THEN "early" ELSE IF time = Margin THEN "margin" ELSE "past"

Keeps(rule) == rule \notin Without
Message(kind, b) == [kind |-> kind, of |-> b]
OnItsWay(kind, b) == Message(kind, b) \in messages
Topics == {"confirm", "done", "dead", "told confirm", "told cancel"}

Verdict(b, phase) ==
    IF phase = "confirm" /\ fence[b] = "CONFIRMED" /\ ~Keeps("idempotent confirm") THEN "apply"
    ELSE Verdicts[fence[b]][phase]

-----------------------------------------------------------------------------
(* The coordinator's row, as coordinator/transaction.py has it. *)

NoRow == [state |-> Nothing, branch |-> [b \in Branches |-> Nothing], dead |-> {}]
Tombstone == [NoRow EXCEPT !.state = "CANCELLED"]

Present(r) == {b \in Branches : r.branch[b] # Nothing}
Mixed(r) == {r.branch[b] : b \in Present(r)}
Open(r) == {b \in Present(r) : r.branch[b] # "CLOSED"}
Unsettled(r) == {b \in Branches : r.branch[b] \in {"CONFIRMING", "CANCELLING"}}
Others(r) == IF Keeps("initiator last") THEN Unsettled(r) \ {Initiator} ELSE {}

\* What may be sent now: the initiator's branch waits until every other is settled.
Due(r) == (IF Others(r) # {} THEN Others(r) ELSE Unsettled(r)) \ r.dead

Decide(r, to) ==
    [r EXCEPT !.state = to,
              !.branch = [b \in Branches |->
                  IF r.branch[b] \in DOMAIN Decided[to] THEN Decided[to][r.branch[b]]
                  ELSE IF r.branch[b] = Nothing THEN Nothing ELSE to]]

Judge(r) ==
    LET ruling == CHOOSE to \in DOMAIN Judged[Mode][When] : Mixed(r) \in Judged[Mode][When][to]
    IN  IF ~Keeps("every answer") /\ ruling = "TRYING" THEN "CONFIRMING" ELSE ruling

Move(r) ==
    CASE r.state = "TRYING" ->
             LET to == Judge(r) IN
             IF to = "TRYING" THEN r ELSE IF to = "TRIED" THEN [r EXCEPT !.state = to] ELSE Decide(r, to)
      [] r.state = "TRIED" /\ time >= Deadline -> Decide(r, "CANCELLING")
      [] r.state = "CONFIRMING" /\ Mixed(r) \in Ended.CONFIRMING -> [r EXCEPT !.state = "CONFIRMED"]
      [] r.state = "CANCELLING" /\ Mixed(r) \in Ended.CANCELLING -> [r EXCEPT !.state = "CANCELLED"]
      [] OTHER -> r

\* Every step that needs nobody else: at most to TRIED, to a decision, to its end. (TLC evaluates what is bound
\* by a set once, and an operator's argument as often as it is used: hence the sets of one, here and below.)
Advance(r) == CHOOSE third \in {Move(second) : second \in {Move(first) : first \in {Move(r)}}} : TRUE

Learn(r, fact, b) ==
    LET name == IF fact = "no" /\ b \in Added THEN "no_to_added" ELSE fact
        state == r.branch[b]
        changed == IF state \in DOMAIN Learned[name] THEN Learned[name][state] ELSE state
    IN  [r EXCEPT !.branch[b] = changed,
                  !.dead = CASE fact = "dead" /\ state = "CONFIRMING" -> @ \cup {b}
                             [] fact = "confirmed" -> @ \ {b}
                             [] OTHER -> @]

\* The Confirms that a commit publishes: what is due now and was not before.
Published(before, after) ==
    {Message("confirm", b) : b \in
        IF after.state # "CONFIRMING" THEN {}
        ELSE Due(after) \ (IF before.state = "CONFIRMING" THEN Due(before) ELSE {})}

\* One commit, in which the row was read too.
Commit(commits) ==
    \E after \in commits : row' = after /\ messages' = messages \cup Published(row, after)

-----------------------------------------------------------------------------
(* The coordinator's doors. Each reads and writes the row in one local transaction. *)

\* The front door asks; its request may come late or never. The initiator held its branch before.
Begin ==
    /\ row.state = Nothing /\ time = 0
    /\ row' = [NoRow EXCEPT !.state = "TRYING",
                            !.branch = [b \in Branches |-> IF b \notin Begun THEN Nothing
                                                           ELSE IF b = Initiator THEN "TRIED" ELSE "TRYING"]]
    /\ UNCHANGED <<view, participants, messages, world>>

\* A branch for a held transaction: committed before its Try leaves. Whoever comes second joins the open one.
Add(b) ==
    /\ Mode = "manual" /\ b \in Added /\ row.branch[b] = Nothing /\ time < Deadline
    /\ row.state = "TRIED" \/ (~Keeps("one open branch") /\ row.state = "TRYING")
    /\ Keeps("one open branch") => Open(row) \cap Added = {}
    /\ row' = [row EXCEPT !.state = "TRYING", !.branch[b] = "TRYING"]
    /\ UNCHANGED <<view, participants, messages, world>>

\* The owner of a held transaction confirms it, in time.
Confirm ==
    /\ Mode = "manual" /\ row.state = "TRIED" /\ time < Margin
    /\ Commit({Advance(Decide(row, "CONFIRMING"))})
    /\ UNCHANGED <<view, participants, world>>

\* Or cancels it.
Cancel ==
    /\ Mode = "manual" /\ row.state \in Undecided
    /\ Commit({Advance(Decide(row, "CANCELLING"))})
    /\ UNCHANGED <<view, participants, world>>

\* What the coordinator answers about a branch: nothing, if that is to wait.
Told(r, b) ==
    IF r.branch[b] \in {Nothing, "CLOSED"} /\ Keeps("named inquiry") THEN {Message("told cancel", b)}
    ELSE IF r.state \in Undecided \/ (b = Initiator /\ Others(r) # {}) THEN {}
    ELSE {Message(IF r.state \in {"CONFIRMING", "CONFIRMED"} THEN "told confirm" ELSE "told cancel", b)}

\* A participant that holds a branch asks about it. It may ask at any moment: its clock is its own.
Inquire(b) ==
    /\ Keeps("ask") /\ Keeps("margin is not enough")
    /\ fence[b] \in Held
    /\ \E found \in {IF row.state = Nothing THEN Tombstone
                    ELSE IF row.state \in Undecided /\ time >= Deadline THEN Advance(Decide(row, "CANCELLING"))
                    ELSE row} :
         /\ row' = IF row.state = Nothing /\ ~Keeps("durable unknown") THEN row ELSE found
         /\ messages' = messages \cup Told(found, b)
    /\ UNCHANGED <<view, participants, world>>

\* A participant's outcome comes in over its topic.
Outcome(fact, b) ==
    /\ OnItsWay(IF fact = "confirmed" THEN "done" ELSE "dead", b)
    /\ \E learned \in {Learn(row, fact, b)} : learned # row /\ Commit({Advance(learned)})
    /\ UNCHANGED <<view, participants, world>>

\* What is not acknowledged is published again, unless its letter is open.
PublishAgain(b) ==
    /\ Keeps("publish again")
    /\ row.state = "CONFIRMING" /\ b \in Due(row)
    /\ messages' = messages \cup {Message("confirm", b)}
    /\ UNCHANGED <<coordinators, participants, world>>

\* The acknowledgement of a dead-lettered Confirm may be lost like any other: the coordinator looks.
Look(b) ==
    /\ Keeps("look at dead letters")
    /\ row.state = "CONFIRMING" /\ b \in row.dead /\ fence[b] = "CONFIRMED"
    /\ messages' = messages \cup {Message("done", b)}
    /\ UNCHANGED <<coordinators, participants, world>>

\* What must not be: giving a decided branch up because its Confirm is a dead letter.
GiveUp ==
    /\ ~Keeps("dead letter stands")
    /\ row.state = "CONFIRMING" /\ row.dead # {}
    /\ row' = [row EXCEPT !.state = "CANCELLING",
                          !.branch = [b \in Branches |-> IF @[b] = "CONFIRMING" THEN "CANCELLING" ELSE @[b]]]
    /\ UNCHANGED <<view, participants, messages, world>>

-----------------------------------------------------------------------------
(* The coordinator's drivers. What they send needs no view of its own: a message that is sent by a stale view
   is one that was sent in time and came late. *)

Read(d) ==
    /\ view[d] = NoRow /\ row.state \notin Final \cup {Nothing}
    /\ view' = [view EXCEPT ![d] = row]
    /\ UNCHANGED <<row, participants, messages, world>>

\* Write what follows from the view; where somebody was faster, forget it and read again.
Save(d, after) ==
    /\ view' = [view EXCEPT ![d] = NoRow]
    /\ IF view[d] = row \/ ~Keeps("compare-and-set")
       THEN row' = after /\ messages' = messages \cup Published(view[d], after)
       ELSE UNCHANGED <<row, messages>>
    /\ UNCHANGED <<participants, world>>

\* Take in an answer.
Answer(d, fact, b) ==
    /\ view[d] # NoRow /\ OnItsWay(fact, b)
    /\ \E learned \in {Learn(view[d], fact, b)} :
         learned # view[d] /\ \E after \in {Advance(learned)} : Save(d, after)

\* Time alone has brought something about.
Wake(d) ==
    /\ view[d] # NoRow
    /\ \E after \in {Advance(view[d])} : after # view[d] /\ Save(d, after)

SendTry(b) ==
    /\ row.state = "TRYING" /\ row.branch[b] = "TRYING"
    /\ messages' = messages \cup {Message("try", b)}
    /\ UNCHANGED <<coordinators, participants, world>>

SendCancel(b) ==
    /\ row.state = "CANCELLING" /\ b \in Due(row)
    /\ messages' = messages \cup {Message("cancel", b)}
    /\ UNCHANGED <<coordinators, participants, world>>

-----------------------------------------------------------------------------
(* The participants. Each action is one local transaction: the fence, the rule, and what is told of it. *)

Fence(b, state) == fence' = [fence EXCEPT ![b] = state]
Apply(b) == applied' = [applied EXCEPT ![b] = IF @ < 2 THEN @ + 1 ELSE @]
Send(kind, b) == messages' = messages \cup {Message(kind, b)}

ReceiveTry(b) ==
    LET verdict == Verdict(b, "try") IN
    /\ OnItsWay("try", b)
    /\ \/ /\ verdict = "apply" /\ (time < Allowance \/ ~Keeps("deadline on Try"))
          /\ Fence(b, IF b \in Outside THEN "TRYING" ELSE "TRIED")
          /\ IF b \in Outside THEN UNCHANGED messages ELSE Send("ok", b)
       \/ /\ verdict = "apply" /\ b \in Refusing /\ time < Allowance
          /\ Fence(b, "CANCELLED") /\ Send("no", b)
       \/ /\ verdict = "apply" /\ ((time >= Allowance /\ Keeps("deadline on Try")) \/ b \in Traceless)
          /\ UNCHANGED fence /\ Send("no", b)
       \/ verdict = "repeat" /\ UNCHANGED fence /\ Send("ok", b)
       \/ verdict = "refuse" /\ UNCHANGED fence /\ Send("no", b)
    /\ UNCHANGED <<coordinators, undo, applied, letters, world>>

\* A Confirm, from the topic or as the answer to an inquiry. A record that was taken may come again or not.
ReceiveConfirm(kind, b) ==
    LET verdict == Verdict(b, "confirm")
        rest == IF kind = "confirm" THEN {messages, messages \ {Message(kind, b)}} ELSE {messages}
        dies == kind = "confirm" /\ (verdict \in {"missing", "conflict"} \/ (verdict = "apply" /\ b \in poison))
    IN
    /\ OnItsWay(kind, b)
    /\ \E left \in rest :
       \/ /\ verdict = "apply" /\ b \notin poison /\ b \notin Outside
          /\ Fence(b, "CONFIRMED") /\ Apply(b)
          /\ letters' = letters \ {b} /\ messages' = left \cup {Message("done", b)}
       \/ /\ verdict = "apply" /\ b \notin poison /\ b \in Outside
          /\ Fence(b, "CONFIRMING")
          /\ messages' = left /\ UNCHANGED <<applied, letters>>
       \/ /\ verdict = "repeat"
          /\ letters' = letters \ {b}
          /\ messages' = IF Keeps("outcome repeated") THEN left \cup {Message("done", b)} ELSE left
          /\ UNCHANGED <<fence, applied>>
       \/ /\ dies
          /\ letters' = letters \cup {b} /\ messages' = left \cup {Message("dead", b)}
          /\ UNCHANGED <<fence, applied>>
    /\ UNCHANGED <<coordinators, undo, world>>

ReceiveCancel(kind, b) ==
    LET verdict == Verdict(b, "cancel") IN
    /\ OnItsWay(kind, b)
    /\ \/ /\ verdict = "entomb"
          /\ Fence(b, IF Keeps("tombstone") THEN "CANCELLED" ELSE "ABSENT")
          /\ Send("cancelled", b) /\ UNCHANGED undo
       \/ /\ verdict = "apply" /\ b \notin Outside
          /\ Fence(b, "CANCELLED") /\ Send("cancelled", b) /\ UNCHANGED undo
       \/ /\ verdict = "apply" /\ b \in Outside
          /\ Fence(b, "CANCELLING") /\ UNCHANGED <<messages, undo>>
       \/ /\ verdict = "undo"
          /\ undo' = undo \cup {b} /\ UNCHANGED <<fence, messages>>
       \/ verdict = "repeat" /\ Send("cancelled", b) /\ UNCHANGED <<fence, undo>>
    /\ UNCHANGED <<coordinators, applied, letters, world>>

\* An external effect ends.
EffectEnds(b) ==
    /\ b \in Outside
    /\ \/ /\ fence[b] = "TRYING" /\ b \notin undo
          /\ Fence(b, "TRIED") /\ Send("ok", b) /\ UNCHANGED applied
       \/ /\ fence[b] = "TRYING" /\ b \in Refusing
          /\ Fence(b, "CANCELLED") /\ Send("no", b) /\ UNCHANGED applied
       \/ /\ fence[b] = "TRYING" /\ b \in undo
          /\ Fence(b, "CANCELLING") /\ UNCHANGED <<messages, applied>>
       \/ fence[b] = "CONFIRMING" /\ Fence(b, "CONFIRMED") /\ Apply(b) /\ Send("done", b)
       \/ fence[b] = "CANCELLING" /\ Fence(b, "CANCELLED") /\ Send("cancelled", b) /\ UNCHANGED applied
    /\ UNCHANGED <<coordinators, undo, letters, world>>

\* What must not be: a participant cancels because its clock says so.
Expire(b) ==
    /\ ~Keeps("ask") \/ (~Keeps("margin is not enough") /\ time >= Deadline)
    /\ fence[b] = "TRIED" /\ Fence(b, "CANCELLED")
    /\ UNCHANGED <<coordinators, undo, applied, letters, messages, world>>

\* A fence goes: when all is over, or (what must not be) at any time once it is settled.
Collect(b) ==
    /\ fence[b] \in Final /\ LastTime >= Retention
    /\ time >= Retention \/ ~Keeps("retention")
    /\ Fence(b, "ABSENT")
    /\ UNCHANGED <<coordinators, undo, applied, letters, messages, world>>

-----------------------------------------------------------------------------
(* The world. *)

\* Somebody mends what made a Confirm fail, and has its letter replayed.
Mend(b) ==
    /\ b \in poison /\ poison' = poison \ {b}
    /\ UNCHANGED <<coordinators, participants, messages, time, lost>>

Replay(b) ==
    /\ b \in letters
    /\ Send("confirm", b)
    /\ UNCHANGED <<coordinators, participants, world>>

\* A message is lost: an HTTP call, or whatever a broker forgot.
Lose(m) ==
    /\ lost < MostLost /\ m \in messages
    /\ messages' = messages \ {m} /\ lost' = lost + 1
    /\ UNCHANGED <<coordinators, participants, poison, time>>

\* Time passes. Retention ends only after the transaction has: then no topic keeps anything of it any more,
\* nor does anybody act on an old answer. Tries and Cancels that hang in some proxy are not so sure to be gone.
Tick ==
    /\ time < LastTime /\ time' = time + 1
    /\ IF time' < Retention THEN UNCHANGED messages
       ELSE /\ Keeps("retention after the end") => row.state \in Final
            /\ messages' = {m \in messages : m.kind \notin Topics}
    /\ UNCHANGED <<coordinators, participants, poison, lost>>

-----------------------------------------------------------------------------

Init ==
    /\ row = NoRow /\ view = [d \in Drivers |-> NoRow]
    /\ fence = [b \in Branches |-> IF b = Initiator THEN "TRIED" ELSE "ABSENT"]
    /\ undo = {} /\ applied = [b \in Branches |-> 0]
    /\ messages = {} /\ poison = Poisoned /\ letters = {} /\ time = 0 /\ lost = 0

Facts == {"ok", "no", "cancelled"}
Outcomes == {"confirmed", "dead"}
Confirms == {"confirm", "told confirm"}
Cancels == {"cancel", "told cancel"}

Coordinate ==
    \/ Begin \/ Confirm \/ Cancel \/ GiveUp
    \/ \E b \in Branches :
         \/ Add(b) \/ Inquire(b) \/ PublishAgain(b) \/ Look(b) \/ SendTry(b) \/ SendCancel(b)
         \/ \E fact \in Outcomes : Outcome(fact, b)
    \/ \E d \in Drivers : Read(d) \/ Wake(d) \/ \E fact \in Facts, b \in Branches : Answer(d, fact, b)

Participate ==
    \E b \in Branches :
        \/ ReceiveTry(b) \/ EffectEnds(b) \/ Expire(b) \/ Collect(b)
        \/ \E kind \in Confirms : ReceiveConfirm(kind, b)
        \/ \E kind \in Cancels : ReceiveCancel(kind, b)

Happen == Tick \/ (\E m \in messages : Lose(m)) \/ (\E b \in Branches : Mend(b) \/ Replay(b))

Next == Coordinate \/ Participate \/ Happen

(* Whatever can go on goes on at last; but nobody need begin, add, confirm or cancel, and nothing need be lost.
   What stands together under one fairness can't go on for ever by itself. *)
Monotonous ==
    \E b \in Branches :
        \/ Inquire(b) \/ Look(b) \/ SendTry(b) \/ SendCancel(b) \/ ReceiveTry(b) \/ EffectEnds(b)
        \/ ReceiveConfirm("told confirm", b)
        \/ \E kind \in Cancels : ReceiveCancel(kind, b)
        \/ \E fact \in Outcomes : Outcome(fact, b)

Fairness ==
    /\ WF_vars(Tick) /\ WF_vars(Monotonous)
    /\ WF_vars(\E d \in Drivers : Read(d) \/ Wake(d) \/ \E fact \in Facts, b \in Branches : Answer(d, fact, b))
    /\ WF_vars(\E b \in Branches : PublishAgain(b))
    /\ WF_vars(\E b \in Branches : ReceiveConfirm("confirm", b))
    /\ WF_vars(\E b \in Branches : Mend(b)) /\ WF_vars(\E b \in Branches : Replay(b))

Safety == Init /\ [][Next]_vars
Spec == Safety /\ Fairness

-----------------------------------------------------------------------------
(* What always holds. *)

Rows == [state : TransactionStates \cup {Nothing},
         branch : [Branches -> BranchStates \cup {Nothing}],
         dead : SUBSET Branches]

TypeOK ==
    /\ row \in Rows /\ \A d \in Drivers : view[d] \in Rows
    /\ fence \in [Branches -> FenceStates] /\ undo \subseteq Outside /\ letters \subseteq Branches

\* A branch that was closed does not count: it may be cancelled while the others are confirmed.
Counted == {b \in Branches : row.branch[b] # "CLOSED"}

NoMixed == ~\E a, b \in Counted : applied[a] > 0 /\ fence[b] = "CANCELLED"
AtMostOnce == \A b \in Branches : applied[b] <= 1
PaidOnce == Cardinality({b \in Added : applied[b] > 0}) <= 1
OneOpenBranch == Cardinality(Open(row) \cap Added) <= 1

\* Nobody is asked to confirm what it does not hold, or to cancel what it confirmed.
NoConflict ==
    \A b \in Branches :
        /\ \A kind \in Confirms : OnItsWay(kind, b) => Verdicts[fence[b]].confirm \notin {"missing", "conflict"}
        /\ \A kind \in Cancels : OnItsWay(kind, b) => Verdicts[fence[b]].cancel # "conflict"

ToConfirm == row.state \in {"CONFIRMING", "CONFIRMED"}
ToCancel == row.state \in {"CANCELLING", "CANCELLED"}

ConfirmedImpliesTried ==
    ToConfirm => \A b \in Open(row) : fence[b] \in {"TRIED", "CONFIRMING", "CONFIRMED"} \/ applied[b] > 0

IsSettled(b) == fence[b] \in Final \cup {"ABSENT"}
IsConfirmed(b) == applied[b] > 0

\* The initiator's final state means that everything is settled, and so does the transaction's.
InitiatorLast ==
    Initiator # "nobody" =>
        /\ fence[Initiator] = "CONFIRMED" => \A b \in Open(row) : IsConfirmed(b)
        /\ fence[Initiator] = "CANCELLED" => \A b \in Counted : IsSettled(b)

FinalMeansSettled ==
    /\ row.state = "CONFIRMED" => \A b \in Open(row) : IsConfirmed(b)
    /\ row.state = "CANCELLED" => \A b \in Open(row) : IsSettled(b)

\* The decision never changes, and the row moves as the code can move it.
DecisionStable == [][(ToConfirm => ToConfirm') /\ (ToCancel => ToCancel')]_vars

\* One commit may take several steps of the code: at most three.
Moved(edges, from, to) ==
    \/ from = to \/ from = Nothing \/ <<from, to>> \in edges
    \/ \E one \in edges : one[1] = from /\
          (<<one[2], to>> \in edges \/ \E two \in edges : two[1] = one[2] /\ <<two[2], to>> \in edges)

OnlyKnownEdges ==
    [][/\ Moved(TransactionEdges, row.state, row'.state)
       /\ \A b \in Branches : Moved(BranchEdges, row.branch[b], row'.branch[b])]_vars

-----------------------------------------------------------------------------
(* Which edges are taken: TLC prints each once (a worker), and the tests compare them with the tables. *)

ASSUME TLCSet(1, {})

Taken ==
    {<<"transaction", row.state, row'.state>>}
    \cup {<<"branch", row.branch[b], row'.branch[b]>> : b \in Branches}
    \cup {<<"fence", fence[b], fence'[b]>> : b \in Branches}

NoteEdges ==
    LET new == {edge \in Taken : edge[2] # edge[3] /\ edge[2] # Nothing} \ TLCGet(1)
    IN  (\A edge \in new : PrintT(edge)) /\ (new = {} \/ TLCSet(1, TLCGet(1) \cup new))

-----------------------------------------------------------------------------
(* What happens at last. *)

Settled == <>[](row.state \in Final \cup {Nothing})
Resolved == <>[](\A b \in Branches : IsSettled(b))
LettersApplied == <>[](letters = {})

=============================================================================
