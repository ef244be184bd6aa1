/** Turns the errors of the transport into the errors of this package. */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { Code, ConnectError } from "@connectrpc/connect";
import * as errors from "./errors.js";
import { NotedError, type Failure, type Violation } from "./errors.js";

/** The ErrorInfo domain of the contract. Reasons of other domains are ignored. */
const domain = "noted.v1";

/** The classes of the codes, for an error without a reason, such as a proxy's. */
const byCode: Readonly<Record<string, typeof NotedError>> = {
  INVALID_ARGUMENT: errors.InvalidRequest,
  UNAVAILABLE: errors.Unavailable,
  DEADLINE_EXCEEDED: errors.DeadlineExceeded,
};

/** The error of a call that failed while doing act. The signal is the caller's own. */
export function failure(act: string, thrown: unknown, signal?: AbortSignal): NotedError {
  if (thrown instanceof NotedError) return thrown;
  const error = ConnectError.from(thrown);
  let reason = "";
  let retryAfterMs: number | undefined;
  const violations: Violation[] = [];
  for (const detail of error.details) {
    if (!("type" in detail)) continue; // made by this process, and not received
    try {
      const fields = read(detail.value);
      if (detail.type === "google.rpc.ErrorInfo" && text(fields, 2) === domain) reason = text(fields, 1);
      if (detail.type === "google.rpc.RetryInfo") {
        const delay = read(bytes(fields, 1));
        retryAfterMs = number(delay, 1) * 1000 + number(delay, 2) / 1e6;
      }
      if (detail.type === "google.rpc.BadRequest") {
        for (const content of fields.filter((field) => field.number === 1)) {
          const violation = read(content.value as Uint8Array);
          violations.push({ field: text(violation, 1), description: text(violation, 2) });
        }
      }
    } catch {
      // An unreadable detail does not hide the others.
    }
  }
  const code = signal?.aborted !== true && isBroken(error) ? Code.Unavailable : error.code;
  return make(act, error.rawMessage, { code: codeName(code), reason, retryAfterMs, violations, cause: error });
}

/**
 * Whether the connection broke or was never made, which gRPC calls UNAVAILABLE. Connect
 * has several codes for it. Noted itself answers neither ABORTED nor CANCELLED to a call
 * that its caller still wants.
 */
function isBroken({ code, cause }: ConnectError): boolean {
  if (code === Code.Aborted || code === Code.Canceled) return true;
  const fromNode = cause instanceof Error && "code" in cause && typeof cause.code === "string";
  return fromNode && (code === Code.Internal || code === Code.Unknown);
}

/**
 * The error of one answer of a stream, which has its reason beside the code and not
 * in details.
 */
export function failed(act: string, code: number, said: string, reason: string): NotedError {
  return make(act, said, { code: codeName(code), reason });
}

/** An answer that breaks the contract, so nothing in it is believed. */
export function breach(act: string, said: string): NotedError {
  return make(act, said, { code: "INTERNAL" });
}

/** An answer about another donation than the request's. */
export function wrongAnswer(act: string, about: string): errors.WrongAnswer {
  const remedy = "find the proxy that mixes answers up between client and server";
  const said = `the answer is about ${about}, so nothing is known; ${remedy}`;
  return new errors.WrongAnswer(act, said, { code: "INTERNAL" });
}

export function make(act: string, said: string, failure: Failure): NotedError {
  const kind = reasons(failure.reason) ?? (failure.code === undefined ? undefined : byCode[failure.code]) ?? NotedError;
  return new kind(act, said, failure);
}

/** The same failure with another sentence. */
export function reworded(error: NotedError, said: string): NotedError {
  const { code, reason, retryAfterMs, violations } = error;
  return new (error.constructor as typeof NotedError)(error.act, said, {
    code,
    reason,
    retryAfterMs,
    violations,
    cause: error.cause,
  });
}

/**
 * The error of the last try. If that try got no answer, such as a try that hung until the
 * deadline, it tells why an earlier try failed too. Its class stays: it may have noted,
 * even if the earlier try did not.
 */
export function telling(error: NotedError, earlier: NotedError | undefined): NotedError {
  const answered = error.reason !== "" && error.reason !== "DEADLINE_EXCEEDED";
  if (earlier === undefined || answered || error.said === earlier.said) return error;
  return reworded(error, `${error.said}; an earlier try failed: ${earlier.reason || earlier.code}: ${earlier.said}`);
}

const reasons = (reason: string | undefined): typeof NotedError | undefined =>
  reason !== undefined && Object.hasOwn(errors.reasons, reason) ? errors.reasons[reason] : undefined;

/**
 * The contract's spelling: FAILED_PRECONDITION for Connect's FailedPrecondition.
 */
function codeName(code: number): string {
  const name: string | undefined = Code[code];
  if (name === undefined) return String(code);
  return name === "Canceled" ? "CANCELLED" : name.replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}

// No package with the classes of google.rpc's messages is worth a dependency, so this
// reads their fields by number.

interface Field {
  readonly number: number;
  readonly value: Uint8Array | number;
}

function read(message: Uint8Array): Field[] {
  const reader = new BinaryReader(message);
  const fields: Field[] = [];
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (type === WireType.LengthDelimited) fields.push({ number, value: reader.bytes() });
    else if (type === WireType.Varint) fields.push({ number, value: Number(reader.int64()) });
    else reader.skip(type, number);
  }
  return fields;
}

function last(fields: Field[], number: number): Uint8Array | number | undefined {
  return fields.findLast((field) => field.number === number)?.value;
}

function bytes(fields: Field[], number: number): Uint8Array {
  const value = last(fields, number);
  return value instanceof Uint8Array ? value : new Uint8Array();
}

const text = (fields: Field[], number: number): string => new TextDecoder().decode(bytes(fields, number));

function number(fields: Field[], number: number): number {
  const value = last(fields, number);
  return typeof value === "number" ? value : 0;
}
