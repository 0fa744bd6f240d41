// Who may write a volume: attach, renew, commit, detach. Safety rests on the `writer` key: an attach takes the next
// epoch with one guarded transaction, and everything a writer commits is guarded by the revision at which it set that key,
// so a writer that was replaced commits nothing more. The lease only says whether to ask before replacing (docs/design.md §5).

import type { Clock } from "#host";
import type { Epoch, FenceBasis, VolumeId } from "#model";
import { assert, isTorusError, TorusError } from "#model";
import { behindGuard, behindRange, requireNotBehind } from "./behind-guard.ts";
import type { ChangeDeps, Decision } from "./guarded-change.ts";
import { commitChange } from "./guarded-change.ts";
import type { HeadCommit, PartWrite, SessionsChange } from "./head-changes.ts";
import { headParts, historyChange, putPart, sessionChanges } from "./head-changes.ts";
import { volumeKey, volumeParts, volumePrefix } from "./keys.ts";
import type { LeaseTime } from "./lease-machine.ts";
import { basisOf, viewIn, viewRanges } from "./metadata-view.ts";
import type { LogMapRecord, StatusRecord, VolumeState } from "./records.ts";
import { leaseCodec, logMapCodec, statusCodec, writerCodec } from "./records-codec.ts";
import type { Change, Guard } from "./service.ts";
import { isAttached, VolumeEntries } from "./volume-entries.ts";

export interface AttachRequest {
  /** A fresh random text of this attach: nobody else's and of no earlier attach. */
  readonly owner: string;
  /** Host name and pid, for messages. */
  readonly holder: string;
  readonly leaseTtlMs: number;
  /** Replace a writer whose lease lives. */
  readonly force: boolean;
}

/** The right to write one volume in one epoch. A value: LeaseKeeper has the newest `lease`. */
export interface WriterAttachment {
  readonly volume: VolumeId;
  readonly name: string;
  readonly epoch: Epoch;
  readonly owner: string;
  readonly holder: string;
  readonly lease: number;
  readonly leaseTtlMs: number;
  /** modRevision of the `writer` key as this attach set it: the guard of everything it commits. */
  readonly writerRevision: number;
  /** When the lease was asked for: it is counted from here. */
  readonly leaseSent: LeaseTime;
}

/** What else is committed together with a head: guards that must hold besides the writer's own, and changes. */
export interface HeadCompany {
  readonly guards: readonly Guard[];
  readonly changes: readonly Change[];
}

export class VolumeWriters {
  readonly #deps: ChangeDeps;

  constructor(deps: ChangeDeps) {
    this.#deps = deps;
  }

  /**
   * Takes the next epoch, sets the owner and the lease, in one transaction. `busy` (details.holder) while a live lease exists,
   * unless `force`; `metadata-behind` while the alarm stands; `not-found` when the volume is gone; `unavailable` when the lease ran out meanwhile. Read head and logmap only afterwards (`loadAttached`).
   */
  async attachWriter(volume: VolumeId, request: AttachRequest): Promise<WriterAttachment> {
    const { service, clock } = this.#deps;
    const leaseSent = timeOf(clock);
    const lease = await service.grantLease(request.leaseTtlMs);
    const proposed = new Set<Epoch>();
    try {
      const replaced = await commitChange(`attach volume ${volume}`, this.#deps, () =>
        this.#decideAttach(volume, request, lease, proposed),
      );
      if (replaced.lease !== 0) await this.#revokeQuietly(replaced.lease);
      return { volume, ...replaced.taken, lease, leaseTtlMs: request.leaseTtlMs, leaseSent };
    } catch (error) {
      // Also when the outcome is unknown: a commit that comes late is then refused, for its lease is gone.
      await this.#revokeQuietly(lease);
      if (!isTorusError(error, "not-found") || error.details["lease"] !== lease) throw error;
      const claim = `volume ${volume} could not be attached within its lease of ${request.leaseTtlMs} ms: the metadata service ${service.url} is slow; try again`;
      throw new TorusError("unavailable", claim, {}, { cause: error });
    }
  }

  async #decideAttach(
    volume: VolumeId,
    request: AttachRequest,
    lease: number,
    proposed: Set<Epoch>,
  ): Promise<Decision<{ taken: Taken; lease: number }>> {
    const entries = await this.#load(volume, [behindRange]);
    requireNotBehind(entries.allOf(behindRange.key));
    const state = entries.state();
    const { owner, holder } = request;
    const name = state.spec.name;
    // The owner alone would not do: an earlier attach may have used it. Its epoch was not proposed here.
    if (state.writer.owner === owner && proposed.has(state.writer.epoch)) {
      return {
        done: {
          taken: { name, owner, holder, epoch: state.writer.epoch, writerRevision: state.revisions.writer },
          lease: 0,
        },
      };
    }
    if (isAttached(state) && !request.force) {
      throw new TorusError(
        "busy",
        `volume "${name}" is attached by ${state.lease?.holder}: detach it there, or use --force to take it over`,
        { holder: state.lease?.holder ?? "" },
      );
    }
    const epoch = state.writer.epoch + 1;
    proposed.add(epoch);
    const changes: Change[] = [
      putPart(volume, "writer", writerCodec.encode({ epoch, owner })),
      {
        kind: "put",
        key: volumeKey(volume, "lease"),
        value: leaseCodec.encode({ owner, epoch, holder }),
        lease,
      },
    ];
    if (entries.has("status")) changes.push({ kind: "delete", key: volumeKey(volume, "status") });
    return {
      guards: [entries.guard("spec"), entries.guard("writer"), entries.guard("lease"), behindGuard],
      changes,
      result: (writerRevision) => ({
        taken: { name, owner, holder, epoch, writerRevision },
        lease: entries.leaseOf("lease"),
      }),
    };
  }

  /** The volume as it is now, if the attachment still holds; `fenced` otherwise. */
  async loadAttached(attachment: WriterAttachment): Promise<VolumeState> {
    return (await this.#loadOwn(attachment, null)).state();
  }

  /** As `loadAttached`, with what fences for that attachment say they were decided by. */
  async loadForFence(attachment: WriterAttachment): Promise<{
    readonly state: VolumeState;
    readonly basis: FenceBasis;
  }> {
    const prefix = volumePrefix(attachment.volume);
    const { revision, ranges } = await this.#deps.service.read([{ prefix }, ...viewRanges]);
    const entries = new Map(ranges.flat().map((entry) => [entry.key, entry]));
    const view = viewIn(this.#deps.service, revision, entries);
    if (ranges[0].length === 0) throw deletedError(attachment, null);
    const found = new VolumeEntries(attachment.volume, ranges[0]);
    requireOwn(found, attachment);
    const state = found.state();
    return { state, basis: basisOf(state, view) };
  }

  /**
   * Renews the lease, or takes a new one when it ran out, and makes sure the epoch is still this attachment's. Returns the attachment with its lease
   * as of now; `fenced` when another writer came. Counted from the send of this call.
   */
  async renewWriter(attachment: WriterAttachment): Promise<WriterAttachment> {
    const { service, clock } = this.#deps;
    const leaseSent = timeOf(clock);
    let lease = attachment.lease;
    try {
      await service.renewLease(lease);
    } catch (error) {
      if (!isTorusError(error, "not-found")) throw error;
      lease = 0;
    }
    const entries = await this.#loadOwn(attachment, []);
    if (lease !== 0 && entries.leaseOf("lease") === lease) return { ...attachment, leaseSent };
    if (lease === 0) lease = await service.grantLease(attachment.leaseTtlMs);
    const { volume, owner, epoch, holder } = attachment;
    const value = leaseCodec.encode({ owner, epoch, holder });
    await this.#putLeased(`renew the lease of volume "${attachment.name}"`, attachment, {
      kind: "put",
      key: volumeKey(volume, "lease"),
      value,
      lease,
    });
    return { ...attachment, lease, leaseSent };
  }

  /**
   * A checkpoint: head and logmap in one transaction, with the history they make. `guards` are their modRevisions as last read or returned; resolves with the new one
   * (of both). `fenced` when another writer came, `conflict` when they are not what `guards` say. On `timeout` call again with the same values: what happened already is recognized.
   * `sessions` comes with the first one of an attachment.
   */
  async commitHead(
    attachment: WriterAttachment,
    commit: HeadCommit,
    guards: { readonly head: number; readonly logmap: number },
    sessions: SessionsChange | null = null,
  ): Promise<number> {
    const parts = headParts(commit, guards);
    return requireCommitted(await this.#commitParts(attachment, parts, { ...noCompany, sessions, commit }));
  }

  /** As `commitHead`, in company. Null when a guard of `company` does not hold: nothing was committed then. */
  commitHeadWith(
    attachment: WriterAttachment,
    commit: HeadCommit,
    guards: { readonly head: number; readonly logmap: number },
    company: HeadCompany,
  ): Promise<number | null> {
    return this.#commitParts(attachment, headParts(commit, guards), { ...company, sessions: null, commit });
  }

  /** Only the logmap (a strike, a new row): as `commitHead`. */
  async commitLogmap(attachment: WriterAttachment, logmap: LogMapRecord, guard: number): Promise<number> {
    const part = { part: "logmap", value: logMapCodec.encode(logmap), revision: guard } as const;
    const alone = { ...noCompany, sessions: null, commit: null };
    return requireCommitted(await this.#commitParts(attachment, [part], alone));
  }

  /** The new revision; null when `company` was refused. */
  #commitParts(
    attachment: WriterAttachment,
    parts: readonly PartWrite[],
    company: HeadCompany & { readonly sessions: SessionsChange | null; readonly commit: HeadCommit | null },
  ): Promise<number | null> {
    const { volume, name } = attachment;
    const what = `commit the ${parts[0].part} of volume "${name}"`;
    return commitChange<number | null>(what, this.#deps, async () => {
      const entries = await this.#loadOwn(attachment, [...company.guards, ...company.changes]);
      if (parts.every(({ part, revision }) => entries.revisionOf(part) === revision)) {
        if (company.guards.some(({ key, revision }) => entries.revisionOfKey(key) !== revision))
          return { done: null };
        const puts = parts.map(({ part, value }) => putPart(volume, part, value));
        const { sessions, commit } = company;
        const more = sessions === null ? [] : sessionChanges(entries, sessions);
        const history =
          commit === null ? noCompany : historyChange(entries, commit, this.#deps.clock.wallMs());
        const own = [this.#guard(attachment), ...parts.map(({ part }) => entries.guard(part))];
        return {
          guards: distinct([...own, ...history.guards, ...company.guards]),
          changes: [...puts, ...more, ...history.changes, ...company.changes],
          result: (revision) => revision,
        };
      }
      // Nobody else writes these while the writer key stands: a match is this writer's own earlier commit.
      const revision = entries.revisionOf(parts[0].part);
      const own = parts.every(
        ({ part, value }) => entries.revisionOf(part) === revision && entries.textOf(part) === value,
      );
      if (own) return { done: revision };
      throw new TorusError("conflict", `cannot ${what}: it is not as it was last read`);
    });
  }

  /** What the volume waits for, shown by `volume list`; it goes with the lease. `unavailable` when the lease ran out. */
  async setStatus(attachment: WriterAttachment, status: StatusRecord): Promise<void> {
    const { volume, lease, name } = attachment;
    const value = statusCodec.encode(status);
    await this.#putLeased(`set the status of volume "${name}"`, attachment, {
      kind: "put",
      key: volumeKey(volume, "status"),
      value,
      lease,
    });
  }

  /** Puts a key that goes with a lease, guarded by the writer key. `unavailable` when the lease ran out meanwhile. */
  async #putLeased(what: string, attachment: WriterAttachment, change: Change): Promise<void> {
    try {
      await commitChange(what, this.#deps, async () => {
        await this.#loadOwn(attachment, []);
        return { guards: [this.#guard(attachment)], changes: [change], result: () => undefined };
      });
    } catch (error) {
      if (!isTorusError(error, "not-found")) throw error;
      throw new TorusError("unavailable", `cannot ${what}: the lease ran out`, {}, { cause: error });
    }
  }

  /**
   * Gives the volume back: the epoch stays, its owner and lease go. Again after it happened: no effect. `fenced` when another writer came.
   * `kept`: all that this attachment answered is durable, so that its clients may go on whatever a recovery finds.
   */
  async detachWriter(attachment: WriterAttachment, kept = false): Promise<void> {
    const { volume, epoch, name } = attachment;
    const free = writerCodec.encode({ epoch, owner: "" });
    await commitChange(`detach volume "${name}"`, this.#deps, async () => {
      const entries = await this.#load(volume, []);
      if (entries.textOf("writer") === free) return { done: undefined };
      requireOwn(entries, attachment);
      const changes: Change[] = [{ kind: "put", key: volumeKey(volume, "writer"), value: free }];
      const gone = kept ? (["lease", "status", "clients"] as const) : (["lease", "status"] as const);
      for (const part of gone) {
        if (entries.has(part)) changes.push({ kind: "delete", key: volumeKey(volume, part) });
      }
      return { guards: [this.#guard(attachment)], changes, result: () => undefined };
    });
    await this.#revokeQuietly(attachment.lease);
  }

  #guard(attachment: WriterAttachment): { key: string; revision: number } {
    return { key: volumeKey(attachment.volume, "writer"), revision: attachment.writerRevision };
  }

  /** The volume without its snapshots and requests, but with `others`; with null all that is below it. */
  async #load(volume: VolumeId, others: readonly { readonly key: string }[] | null): Promise<VolumeEntries> {
    const own = volumeParts.map((part) => volumeKey(volume, part));
    const keys = new Set([...own, ...(others ?? []).map(({ key }) => key)]);
    const wanted = others === null ? [{ prefix: volumePrefix(volume) }] : [...keys].map((key) => ({ key }));
    const found = (await this.#deps.service.read(wanted)).ranges.flat();
    const prefix = volumePrefix(volume);
    if (!found.some(({ key }) => key.startsWith(prefix)))
      throw new TorusError("not-found", `there is no volume with id ${volume}`);
    return new VolumeEntries(volume, found);
  }

  /** The same, if the attachment still holds; else `fenced`. */
  async #loadOwn(
    attachment: WriterAttachment,
    others: readonly { readonly key: string }[] | null,
  ): Promise<VolumeEntries> {
    try {
      const entries = await this.#load(attachment.volume, others);
      requireOwn(entries, attachment);
      return entries;
    } catch (error) {
      if (!isTorusError(error, "not-found")) throw error;
      throw deletedError(attachment, error);
    }
  }

  /** A lease nobody revokes runs out by itself, so a failure here costs only time. */
  async #revokeQuietly(lease: number): Promise<void> {
    try {
      await this.#deps.service.revokeLease(lease);
    } catch (error) {
      if (!isTorusError(error)) throw error;
    }
  }
}

interface Taken {
  readonly name: string;
  readonly owner: string;
  readonly holder: string;
  readonly epoch: Epoch;
  readonly writerRevision: number;
}

export const noCompany: HeadCompany = { guards: [], changes: [] };

/** Both. */
export function joined(a: HeadCompany, b: HeadCompany): HeadCompany {
  return { guards: [...a.guards, ...b.guards], changes: [...a.changes, ...b.changes] };
}

/** One guard a key: all of them are of the same read. */
function distinct(guards: readonly Guard[]): Guard[] {
  return [...new Map(guards.map((guard) => [guard.key, guard])).values()];
}

function requireCommitted(revision: number | null): number {
  assert(revision !== null, "only company can be refused");
  return revision;
}

function deletedError({ name }: WriterAttachment, cause: unknown): TorusError {
  return new TorusError("fenced", `volume "${name}" was deleted`, {}, { cause });
}

function requireOwn(entries: VolumeEntries, attachment: WriterAttachment): void {
  if (entries.revisionOf("writer") === attachment.writerRevision) return;
  const { writer, lease } = entries.state();
  throw new TorusError(
    "fenced",
    `volume "${attachment.name}" was taken over${lease === null ? "" : ` by ${lease.holder}`}: epoch ${writer.epoch} is in force, this writer has ${attachment.epoch}`,
    { epoch: writer.epoch },
  );
}

function timeOf(clock: Clock): LeaseTime {
  return { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() };
}
