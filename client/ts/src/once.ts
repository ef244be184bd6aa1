/** The whole dance: note with a hold, extend while the function runs, settle or release. */
import type { Client } from "./client.js";
import { NotSettled, type NotedError } from "./errors.js";
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

  const held = { client, receipt: response.receipt, holdMs, until: asked + holdMs };
  const lost = new AbortController();
  const over = new AbortController();
  const ends = signal === undefined ? lost.signal : AbortSignal.any([lost.signal, signal]);
  const keeping = keep(held, lost, over.signal);
  try {
    await process(response.note, new Hold(response, ends, () => held.until));
  } catch (error) {
    over.abort();
    await keeping;
    // What is not released opens by itself when the hold runs out, so process's own error is the news.
    const timeoutMs = Math.min(settings.settleTimeoutMs, settings.timeoutMs);
    await client.release(response.receipt, "processing failed", { timeoutMs }).catch(() => undefined);
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
  readonly holdMs: number;
  /** By our own clock, which makes the hold a little shorter than by the store's: the safe side. */
  until: number;
}

/** Extends at every third of the hold, until over. */
async function keep(held: Held, lost: AbortController, over: AbortSignal): Promise<void> {
  while (await sleep(held.until - (held.holdMs * 2) / 3 - now(), over)) {
    try {
      held.until = await extendBefore(held, over);
    } catch (thrown) {
      if (!over.aborted) lost.abort(failure("extending a hold", thrown));
      return;
    }
  }
}

/** Tries until the hold would have run out, and gives until when it lasts then. */
async function extendBefore({ client, receipt, holdMs, until }: Held, over: AbortSignal): Promise<number> {
  for (let tries = 1; ; tries++) {
    const asked = now();
    try {
      // A try that hangs must leave time for another, and the last one must not outlast the hold.
      const timeoutMs = Math.max(Math.min(holdMs / 6, until - asked), 1);
      await client.extend(receipt, holdMs, { timeoutMs, signal: over });
      return asked + holdMs;
    } catch (thrown) {
      const error = failure("extending a hold", thrown);
      if (refused(error)) throw error;
      const wait = waitAfter(tries, error);
      if (now() + wait >= until) {
        await sleep(until - now(), over);
        throw reworded(error, `the hold ran out: ${error.said}`);
      }
      if (!(await sleep(wait, over))) throw error;
    }
  }
}

/**
 * Settles, and does not give up at the first trouble: the work is done. Besides UNAVAILABLE it
 * outwaits a server that is too busy or too slow.
 */
async function settle(client: Client, settings: Settings, { note, receipt }: NoteResponse): Promise<void> {
  const deadline = now() + settings.settleTimeoutMs;
  for (let tries = 1; ; tries++) {
    try {
      const timeoutMs = Math.min(settings.timeoutMs, Math.max(deadline - now(), 1));
      const settled = await client.settle(receipt, { timeoutMs });
      if (settled.donationId !== note.donationId) {
        throw breach("settling", `the server answered about donation ${settled.donationId}, which was not asked`);
      }
      return;
    } catch (thrown) {
      const error = failure("settling", thrown);
      const wait = waitAfter(tries, error);
      if (refused(error) || now() + wait >= deadline) throw notSettled(note, error);
      await sleep(wait);
    }
  }
}

function notSettled(note: Note, error: NotedError): NotSettled {
  const { code, reason, retryAfterMs } = error;
  const failure = { code, reason, retryAfterMs, cause: error };
  return new NotSettled(`settling ${note.donationId}`, `processed, but not settled: ${error.said}`, failure);
}
