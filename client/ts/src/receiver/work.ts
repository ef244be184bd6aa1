/**
 * The work on a verified message: each of its donations is noted, processed once, and
 * settled.
 */
import { createHash } from "node:crypto";
import type { Client } from "../client.js";
import { NotedError, NoteGone, NotSettled, Undecidable } from "../errors.js";
import type { Hold } from "../hold.js";
import type { Identified, Pair } from "../paypal/index.js";
import { Verdict, type Donation, type Message, type Note } from "../types.js";
import { again, Refusal } from "./refusal.js";

/**
 * In milliseconds. After so long, no further donation of a message is begun: PayPal hangs
 * up after 30 seconds, and its redelivery goes on where this delivery stopped.
 */
const workTime = 25_000;

/** One donation of one verified message. */
export interface Told {
  readonly donation: Donation;
  readonly message: Message;
  /** The message as PayPal posted it. */
  readonly body: Buffer;
  /** Its txn_type or event_type. */
  readonly type: string;
  /** Whether it is of PayPal's sandbox. */
  readonly test: boolean;
}

/** A donation that is the receiver's to process. */
export interface Delivery extends Told {
  readonly note: Note;
  /**
   * The idempotency key: the same for every message of the donation, and never another
   * donation's.
   */
  readonly donationId: string;
  /**
   * For long work: call hold.check() before each step that cannot be undone, or listen to
   * hold.signal.
   */
  readonly hold: Hold;
}

/**
 * The log for an operator. console is one, and so are common loggers.
 */
export interface Log {
  warn(text: string): void;
  error(text: string): void;
}

export class Work {
  constructor(
    private readonly client: Client,
    private readonly process: (delivery: Delivery) => unknown,
    private readonly undecided: (told: Told, error: NotedError) => unknown,
    private readonly log: Log,
  ) {}

  /**
   * Throws a Refusal if PayPal is to come again. The failure of one donation does not
   * stop the others: the redelivery finds the successful ones settled. ours says whether
   * the message is about an account of ours; undefined if the message does not say.
   */
  async do(identified: Identified, body: Buffer, test: boolean, ours: boolean | undefined): Promise<void> {
    if (identified.unknown) this.log.warn(`skipped: ${identified.skipped}; it may have been a donation: look at it`);
    const began = performance.now();
    let trouble: Refusal | undefined;
    for (const [i, pair] of identified.pairs.entries()) {
      try {
        if (i > 0 && performance.now() - began > workTime) {
          throw again("postponed", "the message tells of more donations than there was time for");
        }
        await this.one(tell(pair, identified, body, test), ours);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        trouble = error;
      }
    }
    if (trouble !== undefined) throw trouble;
  }

  private async one(told: Told, ours: boolean | undefined): Promise<void> {
    if (ours === undefined) {
      // A refusal would lose a genuine message, and a note would count a stranger's.
      // PayPal leaves the receiver out of some adjustments.
      const problem = "the message does not say whose account it is about";
      await this.leave(told, new NotedError("reading an IPN", problem, { reason: "RECEIVER_MISSING" }));
      return;
    }
    const work = (note: Note, hold: Hold): unknown =>
      this.process({ ...told, note, donationId: note.donationId, hold });
    try {
      if ((await this.once(told.donation, told.message, work)) === "failed") {
        throw again("process", "the donation could not be processed");
      }
    } catch (error) {
      if (!(error instanceof Undecidable)) throw error;
      await this.leave(told, error);
    }
  }

  /**
   * Hands an undecidable donation to a person, once. Noted takes care of the once: the
   * donation is noted in a separate series, whose id is the same at every redelivery.
   */
  private async leave(told: Told, error: NotedError): Promise<void> {
    const { donation, message, body } = told;
    const { channel = "", id = sha256(body) } = message;
    const name = sha256([channel, id, donation.seriesId, donation.event].join("\n")).slice(0, 32);
    this.log.warn(`undecided: ${error.message}; left to a person`);
    const note = { seriesId: `noted.undecided:${name}`, ledger: donation.ledger };
    let outcome: string;
    try {
      outcome = await this.once(note, { channel, id: name }, () => this.undecided(told, error));
    } catch (problem) {
      if (!(problem instanceof Undecidable)) throw problem;
      this.log.error(`not left to a person: ${problem.message}`);
      outcome = "failed";
    }
    if (outcome === "failed") throw again("undecided", "the message could not be left to a person");
  }

  /**
   * Runs work if this donation is FIRST. Throws a Refusal if PayPal is to come again, and
   * an Undecidable.
   */
  private async once(
    donation: Donation,
    message: Message,
    work: (note: Note, hold: Hold) => unknown,
  ): Promise<"settled" | "duplicate" | "failed"> {
    let thrown: { readonly error: unknown } | undefined; // by work
    const doing = async (note: Note, hold: Hold): Promise<void> => {
      if (hold.differences.length > 0) {
        this.log.warn(`${note.donationId}: this message and the note disagree in ${hold.differences.join(", ")}`);
      }
      try {
        await work(note, hold);
      } catch (error) {
        thrown = { error };
        this.log.error(`${note.donationId}: processing failed; PayPal comes again: ${describe(error)}`);
        throw error;
      }
    };
    try {
      const verdict = await this.client.once(donation, message, doing);
      if (verdict === Verdict.HELD) throw again("held", "another is processing this donation");
      return verdict === Verdict.FIRST ? "settled" : "duplicate";
    } catch (error) {
      if (thrown !== undefined) return "failed"; // by work, even if it is a NotedError
      if (error instanceof NotSettled) return this.unsettled(error);
      if (!(error instanceof NotedError) || error instanceof Undecidable) throw error;
      this.log.warn(`not noted: ${error.message}`);
      throw again("noted", "Noted could not be asked", { cause: error });
    }
  }

  private unsettled(error: NotSettled): "settled" {
    if (error.cause instanceof NoteGone) {
      this.log.error(
        `${error.message}; compare it by hand: the donation may have been processed twice, or be processed again`,
      );
      return "settled";
    }
    // The redelivery takes the note over and processes the donation again, under the same id.
    this.log.warn(error.message);
    throw again("noted", "Noted could not settle", { cause: error });
  }
}

function tell(pair: Pair, { type }: Identified, body: Buffer, test: boolean): Told {
  return { donation: pair.donation, message: pair.message, body, type, test };
}

const describe = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));

const sha256 = (bytes: string | Buffer): string => createHash("sha256").update(bytes).digest("hex");
