/**
 * When a call is made again, and after which wait.
 *
 * A try that could not end in time is not begun, so that the caller is told why the last one
 * failed and not merely that time is up.
 */
import { setTimeout as after } from "node:timers/promises";
import { StoreWentBack, Unavailable, type NotedError } from "./errors.js";

/** The tries of one call, the first included. */
export const maxTries = 4;
const base = 100; // ms before the second try; doubles with each
const most = 2_000; // ms
const full = 100; // tokens

/**
 * Keeps a client from making an outage worse: a failure costs a token, a success earns a tenth,
 * and nothing is tried again while less than half are left. A first try is never refused.
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

  /** The wait before the next try of a call that has failed so often, or undefined where there is none. */
  waitAfter(tries: number, error: NotedError, deadline: number): number | undefined {
    if (!retriable(error) || !this.spend() || tries >= maxTries) return undefined;
    const wait = waitAfter(tries, error);
    return now() + wait >= deadline ? undefined : wait;
  }
}

/**
 * Only UNAVAILABLE: any other code would say the same again, or says that time is up. A store that
 * went back in time waits for a person, not for us.
 */
export function retriable(error: NotedError): boolean {
  return error instanceof Unavailable && !(error instanceof StoreWentBack);
}

const passing = new Set(["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL", "UNKNOWN"]);

/** Whether the server has refused for good what was asked with a receipt, so that asking again would change nothing. */
export function refused(error: NotedError): boolean {
  return !passing.has(error.code);
}

/**
 * Exponential, with the upper half left to chance so that callers do not come back in step. What
 * the server asks for is a lower bound.
 */
export function waitAfter(tries: number, error: NotedError): number {
  const wait = Math.min(base * 2 ** Math.min(tries - 1, 10), most) * (0.5 + Math.random() / 2);
  const asked = error.retryAfterMs ?? 0;
  return asked > wait ? asked * (1 + Math.random() / 4) : wait;
}

/** Milliseconds of a clock that nobody sets. */
export const now = (): number => performance.now();

/** Waits; false where the signal has fired. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<boolean> {
  try {
    await after(Math.max(ms, 0), undefined, signal === undefined ? {} : { signal });
    return true;
  } catch {
    return false;
  }
}
