// Faults in the one order that matters to a canary, again and again, where chance alone would take long to find it. They are for
// clusters of the peers and the two clients they name.

import type { FaultEvent } from "./plan.ts";
import type { SeededRandom } from "./random.ts";

const clients = ["c1", "c2"];

/** Again and again: one client does not reach the metadata service for longer than its lease. */
export function cutOff(random: SeededRandom): FaultEvent[] {
  const events: FaultEvent[] = [];
  for (let atMs = 2000; atMs < 90_000; atMs += 16_000)
    events.push({
      atMs,
      kind: "part",
      a: random.pick(clients),
      b: "meta",
      oneWay: false,
      forMs: 14_000,
    });
  return events;
}

/** Again and again: the writer dies, another takes over, and the power of all peers fails. */
export function deathThenDark(random: SeededRandom): FaultEvent[] {
  const events: FaultEvent[] = [];
  for (let atMs = 2000; atMs < 38_000; atMs += 6000) {
    for (const who of clients) events.push({ atMs, kind: "crash", who, power: true, forMs: 50 });
    events.push({ atMs: atMs + random.between(2500, 4000), kind: "blackout", clients: false, forMs: 200 });
  }
  return events;
}

/** Again and again: a peer is down until it is struck, the writer dies at once, and who comes next reaches it and one other only. */
export function strikesThenSilence(random: SeededRandom): FaultEvent[] {
  const events: FaultEvent[] = [];
  const peers = ["p1", "p2", "p3", "p4", "p5"];
  for (let atMs = 2000; atMs < 85_000; atMs += 14_000) {
    const struck = random.pick(peers);
    const other = random.pick(peers.filter((peer) => peer !== struck));
    events.push({ atMs, kind: "crash", who: struck, power: false, forMs: 1900 });
    const diedMs = atMs + random.between(1540, 1660);
    for (const who of clients) {
      events.push({ atMs: diedMs, kind: "crash", who, power: true, forMs: 100 });
      // Longer than an attach is patient.
      for (const b of peers)
        if (b !== struck && b !== other)
          events.push({ atMs: diedMs, kind: "part", a: who, b, oneWay: false, forMs: 8000 });
    }
  }
  return events;
}

/** Again and again: the writer dies, and so do those who attach after it, while they attach. */
export function deathsWhileAttaching(random: SeededRandom): FaultEvent[] {
  const events: FaultEvent[] = [];
  for (let atMs = 3000; atMs < 38_000; atMs += 7000) {
    for (const afterMs of [0, random.between(1500, 2200), random.between(2300, 3500)])
      for (const who of clients)
        events.push({ atMs: atMs + afterMs, kind: "crash", who, power: true, forMs: 50 });
  }
  return events;
}

/** Again and again: the end of a log rots on one peer, which starts anew, and whoever recovers the log reaches few others. */
export function rotThenSilence(random: SeededRandom): FaultEvent[] {
  const events: FaultEvent[] = [];
  const peers = ["p1", "p2", "p3", "p4"];
  for (let atMs = 2000; atMs < 55_000; atMs += 10_500) {
    const who = random.pick(peers);
    for (let i = 0; i < 3; i++)
      events.push({ atMs: atMs + 40 * i, kind: "rot", who, open: true, place: random.uint32() });
    events.push({ atMs: atMs + 150, kind: "crash", who, power: false, forMs: 200 });
    for (const client of clients)
      events.push({ atMs: atMs + 160, kind: "crash", who: client, power: true, forMs: 100 });
    const spared = random.pick(peers.filter((peer) => peer !== who));
    for (const peer of peers)
      if (peer !== who && peer !== spared)
        for (const client of clients)
          events.push({ atMs: atMs + 160, kind: "part", a: client, b: peer, oneWay: false, forMs: 8000 });
  }
  return events;
}

/** Again and again: the processes of all peers are killed, and when they run again the power of all fails. */
export function killsThenDark(random: SeededRandom): FaultEvent[] {
  const events: FaultEvent[] = [];
  for (let atMs = 1000; atMs < 20_000; atMs += 3000) {
    for (const who of ["p1", "p2", "p3"])
      events.push({ atMs: atMs + random.between(0, 30), kind: "crash", who, power: false, forMs: 100 });
    events.push({ atMs: atMs + random.between(300, 1500), kind: "blackout", clients: false, forMs: 100 });
  }
  return events;
}

/** Again and again: the writer dies, and who comes next does not reach all peers. */
export function deathThenSilence(random: SeededRandom): FaultEvent[] {
  const events: FaultEvent[] = [];
  for (let atMs = 2000; atMs < 30_000; atMs += 6000) {
    const silent = ["p1", "p2", "p3", "p4"].filter(() => random.oneIn(2)).slice(0, 2);
    for (const who of clients) {
      events.push({ atMs, kind: "crash", who, power: true, forMs: 100 });
      for (const b of silent) events.push({ atMs, kind: "part", a: who, b, oneWay: false, forMs: 4000 });
    }
  }
  return events;
}
