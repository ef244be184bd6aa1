/**
 * The messages of the contract as JavaScript has them: plain objects, names for enums,
 * Dates.
 *
 * api/noted/v1/noted.proto says what each field means, and its limits. These are not the
 * generated messages, so that a time is a Date and an absent field is undefined.
 */
import type { NotedError } from "./errors.js";

/** The thing that happened. Donations of two events are never the same. */
export const Event = {
  PAYMENT: "PAYMENT",
  PAYMENT_PENDING: "PAYMENT_PENDING",
  PAYMENT_FAILED: "PAYMENT_FAILED",
  REFUND: "REFUND",
  REVERSAL: "REVERSAL",
  REVERSAL_CANCELED: "REVERSAL_CANCELED",
  ADJUSTMENT: "ADJUSTMENT",
  SIGNUP: "SIGNUP",
  CHANGE: "CHANGE",
  SUSPENSION: "SUSPENSION",
  REACTIVATION: "REACTIVATION",
  CANCELLATION: "CANCELLATION",
  EXPIRY: "EXPIRY",
  DISPUTE: "DISPUTE",
} as const;
export type Event = (typeof Event)[keyof typeof Event];

/** The answer to "is this donation mine to process?". */
export const Verdict = {
  /** Yes, process it. */
  FIRST: "FIRST",
  /** No, it is done or was noted before. */
  DUPLICATE: "DUPLICATE",
  /** Not now, another caller is processing it. */
  HELD: "HELD",
} as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

/**
 * The rule that decided, strongest first. Only exists() gives NONE, if there is no note.
 */
export const Evidence = {
  NONE: "NONE",
  NEW: "NEW",
  SAME_REQUEST: "SAME_REQUEST",
  SAME_MESSAGE: "SAME_MESSAGE",
  SAME_TRANSACTION: "SAME_TRANSACTION",
  PAIRED: "PAIRED",
  TAKEN_OVER: "TAKEN_OVER",
} as const;
export type Evidence = (typeof Evidence)[keyof typeof Evidence];

/** Where a note is in its life. */
export const State = { HELD: "HELD", OPEN: "OPEN", SETTLED: "SETTLED" } as const;
export type State = (typeof State)[keyof typeof State];

/**
 * One occurrence of an event in a series: the thing that must be processed once. Only
 * seriesId is required.
 */
export interface Donation {
  readonly seriesId: string;
  readonly ledger?: string | undefined;
  /** A payment, if absent. */
  readonly event?: Event | undefined;
  readonly occurredAt?: Date | undefined;
  /** A decimal as text, such as "25.00", with its currency or not at all. */
  readonly amount?: string | undefined;
  readonly currencyCode?: string | undefined;
  readonly transactionId?: string | undefined;
}

/** One notification of a donation: the channel it came over and its id there. */
export interface Message {
  readonly channel?: string | undefined;
  readonly id?: string | undefined;
  /**
   * When it first arrived, if it waited in a queue or comes from a backfill.
   */
  readonly receivedAt?: Date | undefined;
}

/** A message that Noted has seen for a donation, and when. */
export interface Sighting {
  readonly message: Message;
  readonly transactionId: string;
  readonly seenAt?: Date | undefined;
}

/**
 * A donation as its first message told of it. Fields that the message did not give are
 * empty.
 */
export interface NotedDonation extends Donation {
  readonly ledger: string;
  readonly event: Event;
  readonly amount: string;
  readonly currencyCode: string;
  readonly transactionId: string;
}

/**
 * Noted's memory of a donation. Hand donationId downstream as the idempotency key, and
 * attempt as the fencing token.
 */
export interface Note {
  readonly donationId: string;
  readonly donation: NotedDonation;
  readonly sightings: readonly Sighting[];
  readonly state: State;
  readonly notedAt?: Date | undefined;
  readonly heldUntil?: Date | undefined;
  readonly forgetAt?: Date | undefined;
  readonly attempt: number;
}

/**
 * A whole request of note(), for notes(). Without a requestId it gets one when it is
 * sent.
 */
export interface NoteRequest {
  readonly donation: Donation;
  readonly message?: Message | undefined;
  /** Milliseconds. With 0 or without it the note is final at once. */
  readonly holdMs?: number | undefined;
  readonly requestId?: string | undefined;
}

/**
 * The answer to note(). The receipt comes only with FIRST and a hold, retryAfterMs only
 * with HELD. In a ledger in shadow the verdict is FIRST for every message.
 */
export interface NoteResponse {
  readonly verdict: Verdict;
  readonly note: Note;
  readonly evidence: Evidence;
  readonly receipt: string;
  readonly retryAfterMs?: number | undefined;
  /** The fields in which this donation and the note disagree, such as "amount". */
  readonly differences: readonly string[];
  /** The true verdict in a ledger in shadow. Other ledgers have none. */
  readonly shadowVerdict?: Verdict | undefined;
}

/** The answer to exists(). The note is the note that was found, also an open one. */
export interface Existence {
  readonly exists: boolean;
  readonly note?: Note | undefined;
  readonly evidence: Evidence;
}

/** The answer to one request of notes(): either a response or an error. */
export interface NoteResult {
  /** As it was asked: with a requestId. */
  readonly request: NoteRequest;
  readonly response?: NoteResponse | undefined;
  readonly error?: NotedError | undefined;
}

/** The conditions of list() and page(). All that are given must hold. */
export interface ListRequest {
  /** The ledger to list; absent is the ledger without a name. */
  readonly ledger?: string | undefined;
  readonly seriesId?: string | undefined;
  readonly state?: State | undefined;
  /** A channel: it keeps only notes whose sightings all came over it. */
  readonly seenOnlyOn?: string | undefined;
  /**
   * A transaction id that a sighting of the note must have. Without seriesId it walks
   * through the ledger.
   */
  readonly transactionId?: string | undefined;
  readonly notedAfter?: Date | undefined;
  readonly notedBefore?: Date | undefined;
  readonly pageSize?: number | undefined;
}

/**
 * One page of a listing. A page may be short or empty and still not be the last, which
 * has no nextPageToken.
 */
export interface Page {
  readonly notes: readonly Note[];
  readonly nextPageToken: string;
}
