// What a failed call means: whether anything of it can have happened, what to do next, and what to tell. etcd's texts
// are part of its API (its own clients match them, api/v3rpc/rpctypes); what is not known here counts as "may have happened".

import type { ErrorCode } from "#model";
import { grpcStatus } from "./grpc-codec.ts";
import type { GrpcFailure } from "./grpc-failure.ts";

export interface Verdict {
  /** Certainly nothing of it happened, and nothing of it will. */
  readonly unhappened: boolean;
  /**
   * `elsewhere`: at another member it may work. `again`: here, after authenticating anew. `never`: it is `code`, and what to do
   * is `advice`.
   */
  readonly next: "elsewhere" | "authenticate" | "never";
  readonly code: ErrorCode;
  readonly advice: string;
}

const elsewhere: Verdict = { unhappened: false, next: "elsewhere", code: "unavailable", advice: "" };
const elsewhereUnhappened: Verdict = { ...elsewhere, unhappened: true };
const authenticate: Verdict = { ...elsewhereUnhappened, next: "authenticate", code: "invalid-argument" };

function never(code: ErrorCode, advice: string, unhappened = true): Verdict {
  return { unhappened, next: "never", code, advice };
}

/** Refused before it was proposed to the other members. */
const unproposed =
  /: no leader$|not capable$|rpc not supported for learner$|too many requests$|^raft proposal dropped$/;

export function judge(failure: GrpcFailure): Verdict {
  if (failure.unsent) return elsewhereUnhappened;
  const { code, message } = failure;
  if (unproposed.test(message)) return elsewhereUnhappened;
  if (/invalid auth token$|revision of auth store is old$/.test(message)) return authenticate;
  switch (code) {
    case grpcStatus.unauthenticated:
      return authenticate;
    case grpcStatus.permissionDenied:
      return never(
        "invalid-argument",
        "the user lacks a permission: etcdctl role grant-permission ROLE --prefix=true readwrite PREFIX/",
      );
    case grpcStatus.resourceExhausted:
      return judgeExhausted(message);
    case grpcStatus.invalidArgument:
    case grpcStatus.failedPrecondition:
    case grpcStatus.outOfRange:
      return judgeRefusal(message);
    case grpcStatus.notFound:
      return never("not-found", "");
    case grpcStatus.unimplemented:
      return never("unsupported", "Torus needs etcd 3.4 or newer");
    case grpcStatus.dataLoss:
      return never(
        "corrupt",
        "etcd found that its members differ: see etcdctl alarm list, and repair etcd first",
      );
    default:
      return elsewhere;
  }
}

/** When the quota is crossed by several at once, etcd applies the transaction and *then* says that there is no space. */
function judgeExhausted(message: string): Verdict {
  if (/space exceeded$/.test(message)) {
    return never(
      "full",
      "compact and defragment etcd (or raise --quota-backend-bytes), then etcdctl alarm disarm; see docs/operate/etcd.md",
      false,
    );
  }
  return never("invalid-argument", "the request is larger than etcd takes");
}

function judgeRefusal(message: string): Verdict {
  if (/authentication failed/.test(message)) {
    return never(
      "invalid-argument",
      "the user or the password is wrong (TORUS_ETCD_PASSWORD, or password-file=)",
    );
  }
  if (/user name is empty$/.test(message)) {
    return never(
      "invalid-argument",
      "etcd asks who we are: put USER@ in the metadata URL and set TORUS_ETCD_PASSWORD, or use a client certificate",
    );
  }
  if (/request is too large$/.test(message)) {
    return never("invalid-argument", "raise etcd's --max-request-bytes or change less at once");
  }
  if (/too many operations in txn request$/.test(message)) {
    return never("invalid-argument", "etcd's --max-txn-ops is below its default of 128: raise it");
  }
  return never("invalid-argument", "");
}
