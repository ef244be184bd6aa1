/**
 * The whole sequence: note with a hold, extend while the function runs, settle or
 * release.
 */
import { sameNote } from "./calls.js";
import type { Client } from "./client.js";
import { DeadlineExceeded, NotedError, NotSettled } from "./errors.js";
import { Hold, type Process } from "./hold.js";
import { now, refused, sleep, waitAfter } from "./retry.js";
import type { Settings } from "./settings.js";
import { breach, failure, reworded } from "./status.js";
import { Verdict, type Donation, type Message, type Note, type NoteResponse } from "./types.js";

export async function once(
  client: Client,
  settings: Settings,
  donation: Donation,
  message: Message | undefined,
  process: Process,
  holdMs: number,
  signal: AbortSignal | undefined,
): Promise<Verdict> {
  const asked = now(); // the hold began no earlier
  const response = await client.note(donation, message, signal === undefined ? { holdMs } : { holdMs, signal });
  if (response.verdict !== Verdict.FIRST) return response.verdict;
  if (response.receipt === "") throw breach(`noting ${donation.seriesId}`, "the server gave no receipt for the hold");

  const { receipt, note } = response;
  const held: Held = { client, receipt, donationId: note.donationId, holdMs, until: asked + holdMs, told: undefined };
  const lost = new AbortController();
  const over = new AbortController();
  const ends = signal === undefined ? lost.signal : AbortSignal.any([lost.signal, signal]);
  const keeping = keep(held, lost, over.signal);
  try {
    await process(note, new Hold(response, ends, () => (now() >= held.until ? ranOut(held) : undefined)));
  } catch (error) {
    over.abort();
    await keeping;
    // If the release fails, the note opens when the hold runs out. process's own error is
    // more useful.
    const timeoutMs = Math.min(settings.settleTimeoutMs, settings.timeoutMs);
    await client.release(receipt, "processing failed", { timeoutMs }).catch(() => undefined);
    throw error;
  }
  over.abort();
  await keeping;
  await settle(client, settings, response);
  return Verdict.FIRST;
}

interface Held {
  readonly client: Client;
  readonly receipt: string;
  readonly donationId: string;
  readonly holdMs: number;
  /**
   * The end of the hold by this process's clock. It is a little before the end by the
   * store's clock, which is the safe side.
   */
  until: number;
  /** Why the tries to extend it have failed so far. */
  told: NotedError | undefined;
}

/** Extends at every third of the hold, until over. */
async function keep(held: Held, lost: AbortController, over: AbortSignal): Promise<void> {
  while (await sleep(held.until - (held.holdMs * 2) / 3 - now(), over)) {
    try {
      held.until = await extendBefore(held, over);
      held.told = undefined;
    } catch (thrown) {
      if (!over.aborted) lost.abort(failure("extending a hold", thrown));
      return;
    }
  }
}

/** Tries until the hold would have run out, and returns its new end. */
async function extendBefore(held: Held, over: AbortSignal): Promise<number> {
  const { client, receipt, donationId, holdMs, until } = held;
  for (let tries = 1; ; tries++) {
    const asked = now();
    try {
      // A try that hangs must leave time for another, and the last try must not outlast
      // the hold.
      const timeoutMs = Math.max(Math.min(holdMs / 6, until - asked), 1);
      sameNote("extending a hold", donationId, await client.extend(receipt, holdMs, { timeoutMs, signal: over }));
      return asked + holdMs;
    } catch (thrown) {
      const error = failure("extending a hold", thrown);
      if (refused(error)) throw error;
      const wait = waitAfter(tries, error);
      held.told = reasonOf(held.told, error);
      if (now() + wait >= until) {
        await sleep(until - now(), over);
        throw ranOut(held);
      }
      if (!(await sleep(wait, over))) throw error;
    }
  }
}

/** The error of a hold that has run out, with the reason of the tries to extend it. */
function ranOut({ told }: Held): NotedError {
  if (told === undefined) return new NotedError("extending a hold", "the hold ran out");
  return reworded(told, `the hold ran out: ${told.said}`);
}

/**
 * Settles, and does not give up at the first failure: the work is done. It also waits for
 * a server that is too busy or too slow.
 */
async function settle(client: Client, settings: Settings, { note, receipt }: NoteResponse): Promise<void> {
  const deadline = now() + settings.settleTimeoutMs;
  let told: NotedError | undefined;
  for (let tries = 1; ; tries++) {
    try {
      const timeoutMs = Math.min(settings.timeoutMs, Math.max(deadline - now(), 1));
      sameNote("settling", note.donationId, await client.settle(receipt, { timeoutMs }));
      return;
    } catch (thrown) {
      const error = failure("settling", thrown);
      const wait = waitAfter(tries, error);
      if (refused(error)) throw notSettled(note, error);
      told = reasonOf(told, error);
      if (now() + wait >= deadline) throw notSettled(note, told);
      await sleep(wait);
    }
  }
}

/**
 * The error to tell of several tries: the latest one, told being that of the tries before
 * it. A try that had no time for an answer does not hide an earlier reason.
 */
function reasonOf(told: NotedError | undefined, error: NotedError): NotedError {
  return told !== undefined && error instanceof DeadlineExceeded ? told : error;
}

function notSettled(note: Note, error: NotedError): NotSettled {
  const { code, reason, retryAfterMs } = error;
  const failure = { code, reason, retryAfterMs, cause: error };
  return new NotSettled(`settling ${note.donationId}`, `processed, but not settled: ${error.said}`, failure);
}
