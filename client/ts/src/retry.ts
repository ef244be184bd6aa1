/**
 * Which calls are tried again, and after which wait.
 *
 * No try begins that could not end in time, so the caller learns why the last try failed
 * and not only that time was up.
 */
import { setTimeout as after } from "node:timers/promises";
import { StoreWentBack, Unavailable, type NotedError } from "./errors.js";

/** The tries of one call, the first included. */
export const maxTries = 4;
const base = 100; // ms before the second try; doubles with each
const most = 2_000; // ms
const full = 100; // tokens

/**
 * Keeps a client from making an outage worse. A failure costs a token, and a success
 * earns a tenth. While less than half of the tokens are left, no call is tried again. A
 * first try is never refused.
 */
export class Budget {
  private tokens = full;

  succeed(): void {
    this.tokens = Math.min(full, this.tokens + 0.1);
  }

  /** Pays for a failure and says whether another try is within the budget. */
  spend(): boolean {
    this.tokens = Math.max(0, this.tokens - 1);
    return this.tokens > full / 2;
  }

  /**
   * The wait before the next try of a call that has failed so often, or undefined if
   * there is no next try.
   */
  waitAfter(tries: number, error: NotedError, deadline: number): number | undefined {
    if (!retriable(error) || !this.spend() || tries >= maxTries) return undefined;
    const wait = waitAfter(tries, error);
    return now() + wait >= deadline ? undefined : wait;
  }
}

/**
 * Only UNAVAILABLE: any other code would come again, or says that time is up. A store
 * that has lost notes waits for its operator.
 */
export function retriable(error: NotedError): boolean {
  return error instanceof Unavailable && !(error instanceof StoreWentBack);
}

const passing = new Set(["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL", "UNKNOWN"]);

/**
 * Whether the server has refused a receipt for good, so that another try would change
 * nothing.
 */
export function refused(error: NotedError): boolean {
  return !passing.has(error.code);
}

/**
 * Exponential, with a random upper half so that callers do not come back in step. The
 * server's RetryInfo is a lower bound.
 */
export function waitAfter(tries: number, error: NotedError): number {
  const wait = Math.min(base * 2 ** Math.min(tries - 1, 10), most) * (0.5 + Math.random() / 2);
  const asked = error.retryAfterMs ?? 0;
  return asked > wait ? asked * (1 + Math.random() / 4) : wait;
}

/** Milliseconds of a clock that cannot be set. */
export const now = (): number => performance.now();

/** Waits; false if the signal has fired. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<boolean> {
  try {
    await after(Math.max(ms, 0), undefined, signal === undefined ? {} : { signal });
    return true;
  } catch {
    return false;
  }
}
