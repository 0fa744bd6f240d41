// What every MetadataService must do. An implementation's test calls `serviceSuite` with a way to open clients of one store.

import assert from "node:assert/strict";
import { it } from "node:test";
import { isTorusError, metadataKeyCharsMax, metadataValueBytesMax } from "#model";
import type { Change, MetadataService } from "./service.ts";
import { transactionChangesMax } from "./service-limits.ts";
import { record, watchChecks } from "./watch-suite.ts";

export interface ServiceHarness {
  /** Another client of the same store. */
  connect(): Promise<MetadataService>;
  /** Lets time pass, for leases and watches. */
  advance(ms: number): Promise<void>;
  /** Revisions a watch can go back at most; after twice as many and a hundred more, the first are gone. */
  readonly historyRevisionsMax: number;
  /** How long after it ran out a lease of one second may still be seen, at most. */
  readonly leaseLagMs?: number;
  dispose(): Promise<void>;
}

type Open = () => Promise<ServiceHarness>;
export type Check = (harness: ServiceHarness, service: MetadataService) => Promise<void>;

export function serviceSuite(name: string, open: Open): void {
  const groups = {
    keys: keyChecks,
    transactions: transactionChecks,
    leases: leaseChecks,
    watches: watchChecks,
    limits: limitChecks,
  };
  for (const [group, checks] of Object.entries(groups)) {
    for (const [claim, check] of Object.entries(checks))
      it(`${name}, ${group}: ${claim}`, () => run(open, check));
  }
}

export function lag({ leaseLagMs = 0 }: ServiceHarness): number {
  return leaseLagMs;
}

async function run(open: Open, check: Check): Promise<void> {
  const harness = await open();
  try {
    await check(harness, await harness.connect());
  } finally {
    await harness.dispose();
  }
}

/** By claim: what must hold. */
export type Checks = Readonly<Record<string, Check>>;

export function put(key: string, value: string, lease?: number): Change {
  return lease === undefined ? { kind: "put", key, value } : { kind: "put", key, value, lease };
}

export function remove(key: string): Change {
  return { kind: "delete", key };
}

export async function putAll(service: MetadataService, ...changes: Change[]): Promise<number> {
  const { committed, revision } = await service.transact([], changes);
  assert.equal(committed, true);
  return revision;
}

async function readValue(service: MetadataService, key: string): Promise<string | undefined> {
  return (await service.read([{ key }])).ranges[0].at(0)?.value;
}

const keyChecks: Checks = {
  "a new store is empty at revision 0": async (_, service) => {
    assert.deepEqual(await service.read([{ key: "a" }, { prefix: "" }]), { revision: 0, ranges: [[], []] });
  },

  "a put is read back with its revisions": async (_, service) => {
    await putAll(service, put("a", "1"));
    await putAll(service, put("b", "ü €"));
    await putAll(service, put("a", "2"));
    const { revision, ranges } = await service.read([{ prefix: "" }]);
    assert.equal(revision, 3);
    assert.deepEqual(ranges[0], [
      { key: "a", value: "2", modRevision: 3, createRevision: 1, lease: 0 },
      { key: "b", value: "ü €", modRevision: 2, createRevision: 2, lease: 0 },
    ]);
  },

  "a key made again after its deletion is a new one": async (_, service) => {
    await putAll(service, put("a", "1"));
    await putAll(service, remove("a"));
    await putAll(service, put("a", "3"));
    assert.deepEqual((await service.read([{ key: "a" }])).ranges[0], [
      { key: "a", value: "3", modRevision: 3, createRevision: 3, lease: 0 },
    ]);
  },

  "ranges are sorted by code unit and a prefix covers what starts with it, nothing else": async (
    _,
    service,
  ) => {
    const keys = ["v/2/a", "v/2", "v/20/a", "v/2~", "v/2/", "v/3", "V/2/a", "v/2/Z", "v/2/_", "v0", "v"];
    await putAll(service, ...keys.map((key) => put(key, key)));
    const { ranges } = await service.read([
      { prefix: "v/2/" },
      { prefix: "" },
      { prefix: "v/2" },
      { key: "v/2" },
    ]);
    assert.deepEqual(
      ranges[0].map((entry) => entry.key),
      ["v/2/", "v/2/Z", "v/2/_", "v/2/a"],
    );
    assert.deepEqual(
      ranges[1].map((entry) => entry.key),
      [...keys].sort(),
    );
    assert.deepEqual(
      ranges[2].map((entry) => entry.key),
      ["v/2", "v/2/", "v/2/Z", "v/2/_", "v/2/a", "v/20/a", "v/2~"],
    );
    assert.deepEqual(
      ranges[3].map((entry) => entry.key),
      ["v/2"],
    );
  },

  "all clients see the same store": async (harness, service) => {
    const other = await harness.connect();
    await putAll(service, put("a", "1"));
    assert.equal(await readValue(other, "a"), "1");
    await putAll(other, put("a", "2"));
    assert.equal(await readValue(service, "a"), "2");
  },

  "ranges of one read are of one revision while others write": async (harness, service) => {
    const other = await harness.connect();
    let stop = false;
    const writer = (async () => {
      for (let count = 0; !stop; count++) {
        await putAll(other, put("a/x", `${count}`), put("b/x", `${count}`));
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    for (let count = 0; count < 50; count++) {
      const { ranges } = await service.read([{ prefix: "a/" }, { key: "b/x" }]);
      assert.equal(ranges[0].at(0)?.value, ranges[1].at(0)?.value);
      await new Promise((resolve) => setImmediate(resolve));
    }
    stop = true;
    await writer;
  },
};

const transactionChecks: Checks = {
  "all changes have one revision": async (_, service) => {
    assert.equal(await putAll(service, put("a", "1"), put("b", "1"), put("c", "1")), 1);
    const { ranges } = await service.read([{ prefix: "" }]);
    assert.deepEqual(
      ranges[0].map((entry) => entry.modRevision),
      [1, 1, 1],
    );
  },

  "nothing happens unless every guard holds": async (_, service) => {
    await putAll(service, put("a", "1"));
    await putAll(service, put("b", "1"));
    const wrong = [
      [{ key: "a", revision: 2 }],
      [{ key: "a", revision: 0 }],
      [
        { key: "a", revision: 1 },
        { key: "b", revision: 1 },
      ],
      [
        { key: "a", revision: 1 },
        { key: "c", revision: 3 },
      ],
    ];
    for (const guards of wrong) {
      const result = await service.transact(guards, [put("a", "9"), remove("b"), put("c", "9")]);
      assert.deepEqual(result, { committed: false, revision: 2 });
    }
    const { ranges } = await service.read([{ prefix: "" }]);
    assert.deepEqual(
      ranges[0].map((entry) => entry.value),
      ["1", "1"],
    );
    const right = [
      { key: "a", revision: 1 },
      { key: "b", revision: 2 },
      { key: "c", revision: 0 },
    ];
    assert.deepEqual(await service.transact(right, [put("a", "9"), remove("b")]), {
      committed: true,
      revision: 3,
    });
  },

  "compare and set from many clients loses no update": async (harness) => {
    const clients = await Promise.all([1, 2, 3, 4].map(() => harness.connect()));
    await putAll(clients[0], put("n", "0"));
    const add = async (service: MetadataService) => {
      for (;;) {
        const entry = (await service.read([{ key: "n" }])).ranges[0][0];
        const guards = [{ key: "n", revision: entry.modRevision }];
        if ((await service.transact(guards, [put("n", `${Number(entry.value) + 1}`)])).committed) return;
      }
    };
    await Promise.all(clients.flatMap((service) => Array.from({ length: 10 }, () => add(service))));
    assert.equal(await readValue(clients[0], "n"), "40");
    assert.equal((await clients[0].read([])).revision, 41);
  },

  "a transaction that changes nothing takes no revision": async (_, service) => {
    await putAll(service, put("a", "1"));
    assert.deepEqual(await service.transact([{ key: "a", revision: 1 }], []), {
      committed: true,
      revision: 1,
    });
    assert.deepEqual(await service.transact([], [remove("none")]), { committed: true, revision: 1 });
  },
};

const leaseChecks: Checks = {
  "keys of a lease vanish when it is not renewed": async (harness, service) => {
    const lease = await service.grantLease(1000);
    await putAll(service, put("a", "1", lease), put("b", "1", lease), put("c", "1"));
    assert.equal((await service.read([{ key: "a" }])).ranges[0][0].lease, lease);
    await harness.advance(900);
    assert.equal(await readValue(service, "a"), "1");
    await harness.advance(200 + lag(harness));
    const { revision, ranges } = await service.read([{ prefix: "" }]);
    assert.deepEqual(
      ranges[0].map((entry) => entry.key),
      ["c"],
    );
    assert.equal(revision, 2);
    await assert.rejects(service.renewLease(lease), (error) => isTorusError(error, "not-found"));
    await assert.rejects(service.transact([], [put("a", "2", lease)]), (error) =>
      isTorusError(error, "not-found"),
    );
  },

  "a renewed lease stays": async (harness, service) => {
    const lease = await service.grantLease(1000);
    await putAll(service, put("a", "1", lease));
    for (let count = 0; count < 5; count++) {
      await harness.advance(700);
      await service.renewLease(lease);
    }
    assert.equal(await readValue(service, "a"), "1");
  },

  "a guard does not see a key whose lease has run out": async (harness, service) => {
    const other = await harness.connect();
    const lease = await service.grantLease(1000);
    await putAll(service, put("lock", "me", lease));
    assert.equal(
      (await other.transact([{ key: "lock", revision: 0 }], [put("lock", "you")])).committed,
      false,
    );
    await harness.advance(1100 + lag(harness));
    assert.equal(
      (await other.transact([{ key: "lock", revision: 0 }], [put("lock", "you")])).committed,
      true,
    );
    assert.equal(await readValue(service, "lock"), "you");
  },

  "revoking takes the keys away at once, and again has no effect": async (_, service) => {
    const lease = await service.grantLease(1000);
    await putAll(service, put("a", "1", lease));
    await service.revokeLease(lease);
    await service.revokeLease(lease);
    assert.equal(await readValue(service, "a"), undefined);
    await assert.rejects(service.renewLease(lease), (error) => isTorusError(error, "not-found"));
  },

  "a key that was put again without the lease, or under another, stays": async (harness, service) => {
    const first = await service.grantLease(1000);
    const second = await service.grantLease(5000);
    await putAll(service, put("a", "1", first), put("b", "1", first));
    await putAll(service, put("a", "2"), put("b", "2", second));
    await harness.advance(2000);
    assert.equal(await readValue(service, "a"), "2");
    assert.equal(await readValue(service, "b"), "2");
    await service.revokeLease(second);
    assert.equal(await readValue(service, "b"), undefined);
  },

  "a put with an unknown lease changes nothing": async (_, service) => {
    await assert.rejects(service.transact([], [put("a", "1"), put("b", "1", 77)]), (error) =>
      isTorusError(error, "not-found"),
    );
    assert.deepEqual(await service.read([{ prefix: "" }]), { revision: 0, ranges: [[]] });
  },

  "lease numbers are not given out twice": async (harness, service) => {
    const first = await service.grantLease(1000);
    await harness.advance(2000);
    const other = await harness.connect();
    assert.notEqual(await other.grantLease(1000), first);
  },
};

const invalid = (error: unknown) => isTorusError(error, "invalid-argument");

const limitChecks: Checks = {
  "keys and values beyond limits are refused, at them taken": async (_, service) => {
    const longKey = "k".repeat(metadataKeyCharsMax);
    const longValue = "v".repeat(metadataValueBytesMax);
    await putAll(service, put(longKey, longValue));
    assert.equal(await readValue(service, longKey), longValue);
    for (const change of [
      put(`${longKey}k`, ""),
      put("", ""),
      put("ä", ""),
      put("a b", ""),
      put("a", `${longValue}v`),
      put("a", "\0"),
    ]) {
      await assert.rejects(service.transact([], [change]), invalid);
    }
    await assert.rejects(service.transact([], [put("a", "€".repeat(metadataValueBytesMax / 2))]), invalid);
    await assert.rejects(service.read([{ key: "" }]), invalid);
    await assert.rejects(service.transact([{ key: "a", revision: -1 }], []), invalid);
    await assert.rejects(service.grantLease(0), invalid);
    await assert.rejects(service.grantLease(Number.NaN), invalid);
    assert.throws(() => service.watch("ä", 0, { events: () => {}, reset: () => {} }), invalid);
  },

  "one transaction changes a key once, and so many keys": async (_, service) => {
    await assert.rejects(service.transact([], [put("a", "1"), remove("a")]), invalid);
    const many = Array.from({ length: transactionChangesMax }, (_, index) => put(`k${index}`, ""));
    await putAll(service, ...many);
    await assert.rejects(service.transact([], [...many, put("one-more", "")]), invalid);
  },

  "a closed client refuses everything; others go on": async (harness, service) => {
    const other = await harness.connect();
    const seen = record(service, "", 0);
    await service.close();
    await service.close();
    await putAll(other, put("a", "1"));
    await harness.advance(200);
    assert.deepEqual(seen.events, []);
    const closed = (error: unknown) => isTorusError(error, "closed");
    await assert.rejects(service.read([]), closed);
    await assert.rejects(service.transact([], [put("a", "1")]), closed);
    await assert.rejects(service.grantLease(1000), closed);
    assert.throws(() => service.watch("", 0, { events: () => {}, reset: () => {} }), closed);
    assert.equal(await readValue(other, "a"), "1");
  },
};
