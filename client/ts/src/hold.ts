/** The hold that once() gives to its function. */
import type { Evidence, Note, NoteResponse, Verdict } from "./types.js";

/**
 * The function that once() runs for a donation that is the caller's. note.donationId is
 * the idempotency key.
 */
export type Process = (note: Note, hold: Hold) => unknown;

/**
 * The hold under which once() runs its function: until it is lost or runs out, no other
 * caller processes the donation.
 */
export class Hold {
  /**
   * Fires when the hold was lost, or ran out because it could not be extended: from then
   * on another caller may be processing the donation. It also fires with the caller's own
   * signal. Its reason tells which.
   */
  readonly signal: AbortSignal;
  /** The rule that decided. */
  readonly evidence: Evidence;
  /**
   * The fields in which this message and the note disagree. A different amount under one
   * transaction id is worth an alarm.
   */
  readonly differences: readonly string[];
  /** The true verdict in a ledger in shadow, where duplicates are processed too. */
  readonly shadowVerdict: Verdict | undefined;
  readonly receipt: string;

  /** @internal */
  constructor(
    response: NoteResponse,
    signal: AbortSignal,
    private readonly ranOut: () => Error | undefined,
  ) {
    this.signal = signal;
    this.evidence = response.evidence;
    this.differences = response.differences;
    this.shadowVerdict = response.shadowVerdict;
    this.receipt = response.receipt;
  }

  /**
   * Throws if the hold is lost or has run out, and says why. Long work calls it before
   * each step that cannot be undone.
   */
  check(): void {
    this.signal.throwIfAborted();
    // An extension may still be under way, or the process was suspended or blocked.
    const error = this.ranOut();
    if (error !== undefined) throw error;
  }
}
