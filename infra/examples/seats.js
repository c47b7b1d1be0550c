// Seats in a theatre: a participant of Handfast in Node, without any package.
//
//     node infra/examples/seats.js          (Node 18 or newer; settings: PORT, COORDINATOR_URL, JOURNAL, see the end)
//
// It keeps the contract of docs/participants.md. What it knows is a journal: one line of JSON for each change
// of a branch, on the disk before the answer leaves, and read again at the start. Node runs one thing at a
// time, and nothing below waits between its look at a branch and the line it writes, so nothing overtakes it.
'use strict'
const fs = require('node:fs')
const http = require('node:http')
const path = require('node:path')

const COLLECTION = '/api/v1/seats'
const SKEW_MS = 30_000
const SWEEP_MS = 500
const LONGEST_PAUSE_MS = 60_000
const MOST_BYTES = 65_536
const ID = /^[A-Za-z0-9._~-]{1,64}$/
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/

class Problem extends Error {
  constructor (status, slug, detail) {
    super(detail)
    Object.assign(this, { status, slug })
  }
}

// --- the theatre: shows with seats, and the branches that hold them --------------------------------------

class Theatre {
  constructor (journal, seats) {
    this.shows = new Map(Object.entries(seats).map(([show, free]) => [show, { free, held: 0, sold: 0 }]))
    this.branches = new Map()
    this.file = fs.openSync(journal, 'a+')
    const directory = fs.openSync(path.dirname(path.resolve(journal)), 'r')
    fs.fsyncSync(directory) // or a new file could be gone after a power cut
    fs.closeSync(directory)
    const text = fs.readFileSync(journal, 'utf8')
    const whole = text.slice(0, text.lastIndexOf('\n') + 1)
    // A line that a crash cut short was never answered for.
    fs.ftruncateSync(this.file, Buffer.byteLength(whole))
    for (const line of whole.split('\n').filter(Boolean)) this.apply(JSON.parse(line))
  }

  // Make a change durable, and only then true.
  record (branch) {
    try {
      fs.appendFileSync(this.file, JSON.stringify(branch) + '\n')
      fs.fsyncSync(this.file)
    } catch (error) {
      // Whether the line is there can't be known any more: the next start reads what is.
      console.error(`the journal can't be written: ${error.message}`)
      process.exit(1)
    }
    this.apply(branch)
    return branch
  }

  apply (branch) {
    const before = this.branches.get(branch.id)
    this.branches.set(branch.id, branch)
    if (!branch.claim) return
    const { show, seats } = branch.claim
    const counts = this.shows.get(show)
    if (before?.state === 'TRIED') { counts.held -= seats; counts.free += seats }
    if (branch.state === 'TRIED') { counts.free -= seats; counts.held += seats }
    if (branch.state === 'CONFIRMED' && before?.state === 'TRIED') { counts.free -= seats; counts.sold += seats }
  }

  try (id, transaction, deadline, claim) {
    const known = this.branches.get(id)
    if (known) return this.tryAgain(known, transaction, claim)
    if (Date.now() > Date.parse(deadline) + SKEW_MS) throw new Problem(410, 'reservation-expired', 'Too late.')
    const branch = { id, transaction, expires: deadline, asked: JSON.stringify(claim) }
    const refused = this.refusal(claim)
    if (refused) throw new Problem(...this.record({ ...branch, state: 'CANCELLED', refused }).refused)
    return this.record({ ...branch, state: 'TRIED', claim })
  }

  tryAgain (known, transaction, claim) {
    const reused = known.transaction !== transaction || (known.asked && known.asked !== JSON.stringify(claim))
    if (reused) throw new Problem(409, 'branch-id-reused', `Branch ${known.id} was tried otherwise.`)
    if (known.refused) throw new Problem(...known.refused)
    if (known.state === 'CANCELLED') {
      throw new Problem(409, known.asked ? 'reservation-cancelled' : 'cancelled-before-try', 'It is cancelled.')
    }
    return known
  }

  refusal ({ show, seats }) {
    const counts = this.shows.get(show)
    if (!counts) return [422, 'unknown-show', `There is no show ${show}.`]
    if (counts.free < seats) return [409, 'sold-out', `${counts.free} seats are free, not ${seats}.`]
  }

  confirm (id, transaction) {
    const known = this.owned(id, transaction)
    if (!known) throw new Problem(404, 'not-found', `Nothing is known of ${id}.`)
    if (known.state === 'CANCELLED') throw new Problem(409, 'reservation-cancelled', `${id} is cancelled.`)
    if (known.state === 'TRIED') this.record({ ...known, state: 'CONFIRMED' })
  }

  cancel (id, transaction) {
    const known = this.owned(id, transaction)
    if (!known) this.record({ id, transaction, state: 'CANCELLED' }) // the Try may still be on its way
    else if (known.state === 'CONFIRMED') throw new Problem(409, 'reservation-confirmed', `${id} is confirmed.`)
    else if (known.state === 'TRIED') this.record({ ...known, state: 'CANCELLED' })
  }

  owned (id, transaction) {
    const known = this.branches.get(id)
    if (known && known.transaction !== transaction) {
      throw new Problem(409, 'branch-id-reused', `Branch ${id} belongs to another transaction.`)
    }
    return known
  }
}

// --- over HTTP -------------------------------------------------------------------------------------------

async function answer (theatre, request) {
  const [pathname] = request.url.split('?')
  if (request.method === 'GET') return [200, shown(theatre, pathname)]
  if (request.method === 'POST' && pathname === COLLECTION) {
    const headers = [header(request, 'TCC-Branch-Id', ID), header(request, 'TCC-Transaction-Id', ID)]
    const deadline = header(request, 'TCC-Deadline', INSTANT)
    if (!isDay(deadline)) throw new Problem(422, 'invalid-request', 'TCC-Deadline is no instant.')
    const claim = claimOf(await bodyOf(request))
    const branch = theatre.try(...headers, deadline, claim)
    return [201, { id: branch.id, uri: `${COLLECTION}/${branch.id}`, expires: branch.expires }]
  }
  const id = pathname.startsWith(COLLECTION + '/') ? pathname.slice(COLLECTION.length + 1) : ''
  const act = { PUT: 'confirm', DELETE: 'cancel' }[request.method]
  if (!ID.test(id) || !act) throw new Problem(404, 'not-found', 'There is nothing here.')
  theatre[act](id, header(request, 'TCC-Transaction-Id', ID))
  return [204]
}

function shown (theatre, pathname) {
  if (pathname === '/readyz') return { status: 'ready' }
  if (pathname === '/api/v1/shows') return Object.fromEntries(theatre.shows)
  const branch = theatre.branches.get(pathname.slice(COLLECTION.length + 1))
  if (!pathname.startsWith(COLLECTION + '/') || !branch) throw new Problem(404, 'not-found', 'Not here.')
  return { id: branch.id, state: branch.state, transactionId: branch.transaction, ...branch.claim }
}

function header (request, name, pattern) {
  const value = request.headers[name.toLowerCase()]
  if (!pattern.test(value ?? '')) throw new Problem(422, 'invalid-request', `${name} is missing or malformed.`)
  return value
}

// Date.parse turns the 30th of February into the 2nd of March.
function isDay (instant) {
  const day = new Date(instant.slice(0, 10) + 'T00:00:00Z')
  return !isNaN(day) && day.toISOString().startsWith(instant.slice(0, 10)) && !isNaN(Date.parse(instant))
}

async function bodyOf (request) {
  const chunks = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += chunk.length
    if (bytes > MOST_BYTES) throw new Problem(413, 'body-too-large', `At most ${MOST_BYTES} bytes.`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function claimOf (body) {
  let claim = null
  try { claim = JSON.parse(body) } catch { /* said below */ }
  if (typeof claim?.show !== 'string' || !Number.isSafeInteger(claim.seats) || claim.seats < 1) {
    throw new Problem(422, 'invalid-request', 'A claim is {"show": "evening", "seats": 1}.')
  }
  return { show: claim.show, seats: claim.seats }
}

function serve (theatre, port) {
  return http.createServer((request, response) => {
    answer(theatre, request).catch((error) => {
      // What is no Problem is our own mistake: 500, whose outcome is unknown to the caller, who asks again.
      if (!(error instanceof Problem)) console.error(error)
      const { status = 500, slug = 'internal-error', message } = error
      return [status, { type: `urn:handfast:problem:${slug}`, title: slug, status, detail: message }]
    }).then(([status, body]) => {
      const type = status < 400 ? 'application/json' : 'application/problem+json'
      response.writeHead(status, body ? { 'Content-Type': type } : {}).end(body && JSON.stringify(body))
    })
  }).listen(port, '127.0.0.1')
}

// --- expiry: never by our own clock ----------------------------------------------------------------------

async function sweep (theatre, coordinator, pauses) {
  for (const branch of theatre.branches.values()) {
    const pause = pauses.get(branch.id) ?? { until: Date.parse(branch.expires), times: 0 }
    if (branch.state !== 'TRIED') pauses.delete(branch.id)
    if (branch.state !== 'TRIED' || pause.until > Date.now()) continue
    const next = Math.min(SWEEP_MS * 2 ** pause.times, LONGEST_PAUSE_MS)
    pauses.set(branch.id, { until: Date.now() + next, times: pause.times + 1 })
    try {
      const reply = await fetch(`${coordinator}/api/v1/transactions/${branch.transaction}/inquiries`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ branchId: branch.id }),
        signal: AbortSignal.timeout(5_000)
      })
      // Anything but a decision means: hold on, and ask again.
      const { decision } = reply.ok ? await reply.json() : {}
      if (decision === 'confirm' || decision === 'cancel') theatre[decision](branch.id, branch.transaction)
    } catch (error) {
      console.error(`the coordinator can't be asked about ${branch.id}: ${error.message}`)
    }
  }
  setTimeout(sweep, SWEEP_MS, theatre, coordinator, pauses)
}

const { PORT = '8890', COORDINATOR_URL = 'http://127.0.0.1:8886', JOURNAL = 'seats.journal' } = process.env
const theatre = new Theatre(JOURNAL, { matinee: 200, evening: 200 })
serve(theatre, Number(PORT)).on('listening', () => console.log(`seats at http://127.0.0.1:${PORT}${COLLECTION}`))
sweep(theatre, COORDINATOR_URL, new Map())
