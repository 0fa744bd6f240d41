// Records: what is written is read back, anything else is refused by name; fuzzed.

import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { isTorusError, TorusError } from "#model";
import type { RecordCodec } from "./records-codec.ts";
import * as codecs from "./records-codec.ts";
import { scrubRequestCodec } from "./scrub-codec.ts";
import * as more from "./snapshot-codec.ts";
import { specCodec } from "./spec-codec.ts";

const uuid = "6f1c1f0e-54d7-4c3e-9a43-1f5f9c2e7d10";
const member = { peer: uuid, weight: 1.5e12, labels: { host: "n1", zone: "a" } };
const ring = { version: 3, type: "rendezvous", replicas: 3, members: [member] } as const;
const ref = { type: 1, volume: 7, epoch: 2, index: 9 };

/** One record of each kind; the encoded text is what docs/formats/metadata.md shows. */
const samples: Readonly<Record<string, { codec: RecordCodec<never>; value: object }>> = {
  cluster: sample(codecs.clusterCodec, { clusterId: uuid, blockBytes: 4_194_304, createdMs: 1 }),
  minter: sample(codecs.minterCodec, { lastVolumeId: 7 }),
  ringPointer: sample(codecs.ringPointerCodec, { version: 3 }),
  name: sample(codecs.nameCodec, { id: 7, token: uuid }),
  ring: sample(codecs.ringCodec, ring),
  union: sample(codecs.ringCodec, {
    ...ring,
    version: 4,
    type: "union",
    parts: { old: ring, new: { ...ring, version: 4 } },
  }),
  peer: sample(codecs.peerCodec, {
    peer: uuid,
    address: "[::1]:4321",
    sizeBytes: 1e12,
    labels: { host: "n1" },
    protocolVersion: 1,
  }),
  peerAlive: sample(codecs.peerAliveCodec, {
    incarnation: 4,
    usedBytes: 0,
    blocks: 0,
    updatedMs: 1,
    condition: "ok",
    upkeep: {
      state: "moving",
      ringVersion: 3,
      revision: 99,
      walks: 2,
      walkedPercent: 40,
      misplacedBlocks: 7,
      misplacedBytes: 4096,
      keptBlocks: 1,
      movedBytes: 8192,
      remainingMs: null,
    },
    collected: { revision: 8, neededBytes: 4096, reclaimableBytes: 0, buriedHere: [3] },
    scrub: { done: 0.5, found: 2, repaired: 1, unrepairable: 1 },
  }),
  removedPeer: sample(codecs.removedPeerCodec, { ringVersion: 3, weight: 1e12, removedMs: 1 }),
  upkeep: sample(codecs.upkeepCodec, { paused: true }),
  scrub: sample(scrubRequestCodec, {
    token: uuid,
    askedMs: 1,
    answer: { beganMs: 2, updatedMs: 3, done: 0.5, found: 2, repaired: 1, unrepairable: 1, ended: false },
  }),
  spec: sample(specCodec, {
    id: 7,
    name: "data",
    kind: "block",
    sizeBytes: 4096,
    acknowledge: "replicated",
    minReplicas: 2,
    qos: { iops: 100, bytesPerSecond: null, burstMs: 100 },
    createdMs: 1,
  }),
  writer: sample(codecs.writerCodec, { epoch: 2, owner: "" }),
  lease: sample(codecs.leaseCodec, { owner: "o", epoch: 2, holder: "n1 (pid 12)" }),
  head: sample(codecs.headCodec, {
    epoch: 2,
    root: { ref, offset: 0, length: 4096, checksum: 4294967295 },
    ringVersion: 3,
    replayFrom: 5,
    sequence: 100,
    previous: 0,
    positionIndex: 5,
    positionOffset: 8192,
    usedBytes: 123,
    logBytes: 65536,
    ended: false,
    timeMs: 1700000000000,
    device: uuid,
  }),
  logmap: sample(codecs.logMapCodec, {
    epoch: 2,
    rows: [{ fromIndex: 1, ringVersion: 3, replicas: 3, without: [uuid] }],
    struck: [{ peer: uuid, fromIndex: 1, toIndex: 4 }],
  }),
  status: sample(codecs.statusCodec, { condition: "waits for two peers", updatedMs: 1 }),
  adoption: sample(codecs.adoptionCodec, { generation: 1, adoptedMs: 1, identity: "etcd 1a" }),
  behind: sample(codecs.behindCodec, { reason: "it was at revision 9", noticedBy: "peer 1", noticedMs: 1 }),
  adopted: sample(codecs.adoptedCodec, { generation: 1, epoch: 4, without: [uuid] }),
  clients: sample(codecs.clientsCodec, {
    epoch: 2,
    holder: "n1 (pid 12)",
    boot: { machine: "m1", id: uuid },
  }),
  cut: sample(codecs.cutCodec, { epoch: 3, atMs: 1, previousHolder: "n1 (pid 12)" }),
  snapshot: sample(more.snapshotCodec, {
    name: "monday",
    createdMs: 1,
    token: uuid,
    sizeBytes: 4096,
    epoch: 2,
    root: { ref, offset: 0, length: 4096, checksum: 0 },
    endIndex: 4,
    ringVersion: 3,
    usedBytes: 123,
    logBytes: 456,
    labels: { by: "cron" },
  }),
  request: sample(more.volumeRequestCodec, {
    order: { kind: "snapshot", name: "monday", labels: {}, atMs: 1700000000000 },
    createdMs: 1,
    byMs: 2,
    refusal: { code: "full", message: "no space" },
  }),
  resize: sample(more.volumeRequestCodec, {
    order: { kind: "resize", sizeBytes: 8192, force: true },
    createdMs: 1,
    byMs: 2,
    refusal: null,
  }),
  history: sample(more.historyCodec, {
    keepMs: 86_400_000,
    points: [
      {
        timeMs: 1700000000000,
        epoch: 2,
        root: { ref, offset: 0, length: 4096, checksum: 0 },
        ringVersion: 3,
        replayFrom: 5,
        sequence: 100,
        previous: 7,
        positionIndex: 6,
        positionOffset: 8192,
        sizeBytes: 4096,
        usedBytes: 123,
        logBytes: 456,
        blocks: 12,
        previousEnd: 4,
        isForced: true,
      },
    ],
  }),
  origin: sample(more.originCodec, { volume: 7, name: "data", snapshot: "monday", bases: [7, 3] }),
  tombstone: sample(codecs.tombstoneCodec, { id: 7, name: "data", epoch: 3, token: uuid, deletedMs: 1 }),
};

function sample<Value extends object>(codec: RecordCodec<Value>, value: Value) {
  return { codec: codec as unknown as RecordCodec<never>, value };
}

const corrupt = (key: string) => (error: unknown) =>
  error instanceof TorusError &&
  error.code === "corrupt" &&
  error.details.key === key &&
  error.message.includes(key);

for (const [name, { codec, value }] of Object.entries(samples)) {
  it(`records codec: ${name}: reads what it wrote, with a format number first`, () => {
    const text = codec.encode(value as never);
    const formats: Readonly<Record<string, number>> = {
      peerAlive: 2,
      head: 3,
      request: 3,
      resize: 3,
      spec: 2,
    };
    const format = formats[name] ?? 1;
    assert.ok(text.startsWith(`{"format":${format},`));
    assert.deepEqual(codec.decode("k", text), value);
  });

  it(`records codec: ${name}: a missing, an unknown or a wrong field is damage that names the key`, () => {
    const fields = JSON.parse(codec.encode(value as never)) as Record<string, unknown>;
    for (const field of Object.keys(fields)) {
      const { [field]: _, ...rest } = fields;
      assert.throws(
        () => codec.decode("some/key", JSON.stringify(rest)),
        corrupt("some/key"),
        `without ${field}`,
      );
      for (const wrong of [undefined, true, -1, 0.5, 2 ** 60, "x".repeat(100_000), [1], {}]) {
        if (field === "labels" && JSON.stringify(wrong) === "{}") continue;
        if (field === "bases" && JSON.stringify(wrong) === "[1]") continue;
        if (field === "format" && wrong === 2 ** 60) continue;
        if (field === "weight" && typeof wrong === "number" && wrong > 0) continue;
        if (typeof fields[field] === "boolean" && wrong === true) continue;
        if (field.endsWith("Ms") && typeof wrong === "number" && wrong >= 0) continue;
        const text = JSON.stringify({ ...fields, [field]: wrong });
        assert.throws(
          () => codec.decode("some/key", text),
          corrupt("some/key"),
          `${field}: ${JSON.stringify(wrong)}`,
        );
      }
    }
    assert.throws(() => codec.decode("k", JSON.stringify({ ...fields, extra: 1 })), corrupt("k"));
  });
}

it("records codec: a format from the future is not guessed at", () => {
  const text = '{"format":2,"epoch":1,"owner":"x"}';
  assert.throws(
    () => codecs.writerCodec.decode("k", text),
    (error) => isTorusError(error, "unsupported"),
  );
});

it("records codec: the heartbeat of a peer that did not yet tell of upkeep is read", () => {
  const old = '{"format":1,"incarnation":4,"usedBytes":0,"blocks":0,"updatedMs":1,"condition":"ok"}';
  assert.equal(codecs.peerAliveCodec.decode("k", old).upkeep, null);
  assert.throws(() => codecs.peerAliveCodec.decode("k", old.replace(":1,", ":2,")), corrupt("k"));
});

it("records codec: a request for a snapshot of before there were others is read", () => {
  const old = '{"format":1,"kind":"snapshot","name":"s1","labels":{},"createdMs":1,"byMs":2,"refusal":null}';
  const order = { kind: "snapshot", name: "s1", labels: {}, atMs: null };
  assert.deepEqual(more.volumeRequestCodec.decode("k", old).order, order);
  const next =
    '{"format":2,"order":{"kind":"snapshot","name":"s1","labels":{}},"createdMs":1,"byMs":2,"refusal":null}';
  assert.deepEqual(more.volumeRequestCodec.decode("k", next).order, order);
  assert.throws(() => more.volumeRequestCodec.decode("k", old.replace("name", "nome")), corrupt("k"));
});

it("records codec: a head without a time or a device is read", () => {
  const { device: _, ...second } = JSON.parse(codecs.headCodec.encode(samples.head.value as never));
  assert.equal(codecs.headCodec.decode("k", JSON.stringify({ ...second, format: 2 })).device, null);
  const { timeMs: __, ...first } = second;
  const old = codecs.headCodec.decode("k", JSON.stringify({ ...first, format: 1 }));
  assert.deepEqual([old.timeMs, old.device], [0, null]);
});

it("records codec: values out of bounds are not written", () => {
  const invalid = (error: unknown) => isTorusError(error, "invalid-argument");
  assert.throws(() => codecs.writerCodec.encode({ epoch: Number.NaN, owner: "" }), invalid);
  assert.throws(() => codecs.writerCodec.encode({ epoch: 1, owner: "x".repeat(200) }), invalid);
  assert.throws(() => codecs.minterCodec.encode({ lastVolumeId: 2 ** 40 }), invalid);
  assert.throws(() => codecs.ringCodec.encode({ ...ring, members: [{ ...member, weight: 0 }] }), invalid);
  assert.throws(
    () => codecs.clusterCodec.encode({ clusterId: uuid, blockBytes: 100_000, createdMs: 0 }),
    invalid,
  );
});

it("records codec: only the record's own fields are written", () => {
  const extended = { epoch: 1, owner: "x", secret: "y" };
  assert.equal(codecs.writerCodec.encode(extended), '{"format":1,"epoch":1,"owner":"x"}');
});

it("records codec: labels: equal maps encode equally, strange names are refused", () => {
  const record = { peer: "p", address: "a:1", sizeBytes: 1, protocolVersion: 1 };
  const one = codecs.peerCodec.encode({ ...record, labels: { b: "2", a: "1" } });
  assert.equal(one, codecs.peerCodec.encode({ ...record, labels: { a: "1", b: "2" } }));
  const text =
    '{"format":1,"peer":"p","address":"a:1","sizeBytes":1,"labels":{"__proto__":"x"},"protocolVersion":1}';
  assert.throws(() => codecs.peerCodec.decode("k", text), corrupt("k"));
});

it("records codec: fuzz: any text either decodes to a value that encodes again, or is refused by name", () => {
  const all = Object.values(samples);
  const texts = all.map(({ codec, value }) => codec.encode(value as never));
  const mutated = fc
    .tuple(
      fc.nat(texts.length - 1),
      fc.array(fc.tuple(fc.nat(600), fc.string({ maxLength: 3 })), { maxLength: 4 }),
    )
    .map(([which, edits]) => {
      let text = texts[which];
      for (const [at, insert] of edits) text = text.slice(0, at) + insert + text.slice(at + 1);
      return text;
    });
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json(), mutated), fc.nat(all.length - 1), (text, which) => {
      const { codec } = all[which];
      let value: never;
      try {
        value = codec.decode("some/key", text);
      } catch (error) {
        assert.ok(isTorusError(error, "corrupt", "unsupported"), String(error));
        return;
      }
      assert.deepEqual(codec.decode("k", codec.encode(value)), value);
    }),
    { numRuns: 3000 },
  );
});
