/**
 * The errors of calls: one class for each reason in the head of noted.proto, all of them
 * subclasses of NotedError.
 *
 * On an error nothing is known of the donation: do not process it, and do not take it for
 * a duplicate. The one exception is NotSettled: then the donation IS processed.
 */

/** One field of a request that the server refused. */
export interface Violation {
  /** Its path, such as "donation.amount". */
  readonly field: string;
  /** What is wrong with it. */
  readonly description: string;
}

/**
 * The facts of a failure beside the act and the server's sentence.
 */
export interface Failure {
  /**
   * The gRPC status code, such as "UNAVAILABLE"; absent if the client itself found the
   * failure.
   */
  readonly code?: string | undefined;
  /**
   * The contract's reason, such as "RATE_LIMITED"; absent if the failure did not come
   * from Noted.
   */
  readonly reason?: string | undefined;
  /** How long the server asks to wait. */
  readonly retryAfterMs?: number | undefined;
  readonly violations?: readonly Violation[] | undefined;
  readonly cause?: unknown;
}

/** A call failed. The cause is the transport's error, if there is one. */
export class NotedError extends Error {
  /** The act that failed, such as "noting I-ABC". */
  readonly act: string;
  /** The sentence of the server or the transport. */
  readonly said: string;
  readonly code: string;
  /**
   * The contract's, such as "RATE_LIMITED"; empty if the failure did not come from Noted,
   * such as a refused connection.
   */
  readonly reason: string;
  readonly retryAfterMs: number | undefined;
  readonly violations: readonly Violation[];

  constructor(act: string, said: string, failure: Failure = {}) {
    const { code = "", reason = "", cause } = failure;
    super([act, reason || code, said].filter((part) => part !== "").join(": "), { cause });
    this.name = new.target.name;
    this.act = act;
    this.said = said;
    this.code = code;
    this.reason = reason;
    this.retryAfterMs = failure.retryAfterMs;
    this.violations = failure.violations ?? [];
  }
}

/**
 * Another try may cure it: the server cannot be reached, or says UNAVAILABLE for any
 * reason.
 */
export class Unavailable extends NotedError {}

/**
 * The store cannot be asked. The last try of the call noted nothing; an earlier try may
 * have noted.
 */
export class StoreUnavailable extends Unavailable {}

/** It may have been noted: ask again with the same requestId. */
export class OutcomeUnknown extends Unavailable {}

/**
 * Too few replicas have the notes behind the answer: ask again with the same requestId.
 */
export class DurabilityNotReached extends Unavailable {}

/** The store has lost notes and waits for an operator. Not retried. */
export class StoreWentBack extends Unavailable {}

/**
 * Every connection of the server to the store is in use. The last try of the call noted
 * nothing; an earlier try may have noted. Ask again soon.
 */
export class PoolExhausted extends Unavailable {}

/**
 * Noted cannot decide, and each further try with the same message would end in the same
 * error. Nothing was noted. Keep the message for a person, and answer PayPal 200;
 * otherwise the donation is lost when PayPal gives up.
 */
export class Undecidable extends NotedError {}

/**
 * The note is not this attempt's any more. If it is the cause of a NotSettled, PayPal's
 * next try would be a duplicate, or double the donation: tell a person, and answer 200.
 */
export class NoteGone extends NotedError {}

/**
 * A field is malformed; violations names every one. The same request will be refused
 * again.
 */
export class InvalidRequest extends Undecidable {}

/**
 * The requestId belongs to another message of this series. Nothing was noted: give each
 * message an id of its own.
 */
export class RequestIdReused extends NotedError {}

/**
 * occurredAt is older than the notes reach back. Noted cannot decide: keep the message
 * for a person.
 */
export class OccurredTooEarly extends Undecidable {}

/**
 * occurredAt is further ahead than clocks may disagree. Noted cannot decide: keep the
 * message for a person.
 */
export class OccurredTooLate extends Undecidable {}

/**
 * receivedAt is older than the notes reach back. Noted cannot decide: keep the message
 * for a person.
 */
export class ReceivedTooEarly extends Undecidable {}

/** Another attempt has taken over. */
export class HoldLost extends NotedError {}

/** The hold was released. */
export class HoldReleased extends NoteGone {}

/**
 * Another attempt has taken over and settled: the donation was processed twice, if this
 * attempt processed it too.
 */
export class SettledByAnother extends NoteGone {}

/** This receipt has settled already; it can be neither released nor extended. */
export class AlreadySettled extends NotedError {}

/**
 * The server's store cannot run Noted, such as a Redis that is too old. The operator must
 * act.
 */
export class StoreUnsuitable extends NotedError {}

/** The note was forgotten, or never existed. */
export class NoteNotFound extends NoteGone {}

/** The caller is over its rate. */
export class RateLimited extends NotedError {}

/** The store is full; known duplicates are still answered. */
export class StoreFull extends NotedError {}

/**
 * The series holds more notes than a real one could: its id looks like a constant. Keep
 * the message for a person.
 */
export class SeriesFull extends Undecidable {}

/** The server has too much to do. */
export class Overloaded extends NotedError {}

/** No valid caller: is the token right? */
export class Unauthenticated extends NotedError {}

/** This caller may not use this ledger. */
export class LedgerDenied extends NotedError {}

/** This caller may not make this call. */
export class VerbDenied extends NotedError {}

/** The time for the call was over. */
export class DeadlineExceeded extends NotedError {}

/** The server has a fault. */
export class Internal extends NotedError {}

/**
 * The answer is about another series, ledger or donation than the request's: a program
 * between client and server mixes answers up. As with every NotedError, nothing is known.
 */
export class WrongAnswer extends NotedError {}

/**
 * Only from once(): the donation IS processed, but its note could not be made final. The
 * donation's next message may be FIRST. `reason` tells why, and so does `cause`, as an
 * error.
 */
export class NotSettled extends NotedError {}

/**
 * The class of each reason. A test compares it with the head of noted.proto and with the
 * other libraries.
 */
export const reasons: Readonly<Record<string, typeof NotedError>> = {
  INVALID_REQUEST: InvalidRequest,
  REQUEST_ID_REUSED: RequestIdReused,
  OCCURRED_TOO_EARLY: OccurredTooEarly,
  OCCURRED_TOO_LATE: OccurredTooLate,
  RECEIVED_TOO_EARLY: ReceivedTooEarly,
  HOLD_LOST: HoldLost,
  HOLD_RELEASED: HoldReleased,
  SETTLED_BY_ANOTHER: SettledByAnother,
  ALREADY_SETTLED: AlreadySettled,
  STORE_UNSUITABLE: StoreUnsuitable,
  NOTE_NOT_FOUND: NoteNotFound,
  RATE_LIMITED: RateLimited,
  STORE_FULL: StoreFull,
  SERIES_FULL: SeriesFull,
  OVERLOADED: Overloaded,
  UNAUTHENTICATED: Unauthenticated,
  LEDGER_DENIED: LedgerDenied,
  VERB_DENIED: VerbDenied,
  STORE_UNAVAILABLE: StoreUnavailable,
  OUTCOME_UNKNOWN: OutcomeUnknown,
  DURABILITY_NOT_REACHED: DurabilityNotReached,
  STORE_WENT_BACK: StoreWentBack,
  POOL_EXHAUSTED: PoolExhausted,
  DEADLINE_EXCEEDED: DeadlineExceeded,
  INTERNAL: Internal,
};
