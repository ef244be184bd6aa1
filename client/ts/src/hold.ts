/** What once() hands to its function. */
import { NotedError } from "./errors.js";
import { now } from "./retry.js";
import type { Evidence, Note, NoteResponse } from "./types.js";

/** What once() runs for a donation that is the caller's. note.donationId is the idempotency key. */
export type Process = (note: Note, hold: Hold) => unknown;

/** The hold under which once() runs its function: until it is lost or runs out, nobody else processes the donation. */
export class Hold {
  /**
   * Fires when the hold was lost, or ran out because it could not be extended: from then on another
   * may be processing the donation. It fires with the caller's own signal, too. Its reason tells which.
   */
  readonly signal: AbortSignal;
  /** The rule that decided. */
  readonly evidence: Evidence;
  /** The fields in which this message and the note disagree. A different amount under one transaction id is worth an alarm. */
  readonly differences: readonly string[];
  readonly receipt: string;

  /** @internal */
  constructor(
    response: NoteResponse,
    signal: AbortSignal,
    private readonly until: () => number,
  ) {
    this.signal = signal;
    this.evidence = response.evidence;
    this.differences = response.differences;
    this.receipt = response.receipt;
  }

  /**
   * Throws what became of the hold if it is lost or has run out. For long work, before each step
   * that cannot be undone.
   */
  check(): void {
    this.signal.throwIfAborted();
    // An extension may still be under way, or the process may have been suspended, or blocked.
    if (now() >= this.until()) throw new NotedError("extending a hold", "the hold ran out");
  }
}
