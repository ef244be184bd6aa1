/** The donations of a message, and how they are printed. */
import type { Donation, Message } from "../types.js";

/**
 * A body cannot be read or names no series. The same bytes fail each time, so do not let
 * PayPal send them again.
 */
export class MalformedError extends Error {
  /** The field or fields at fault; "body" for all of it. */
  readonly field: string;
  /** What is wrong, and what to do. */
  readonly problem: string;

  constructor(field: string, problem: string) {
    super(`${field}: ${problem}`);
    this.name = "MalformedError";
    this.field = field;
    this.problem = problem;
  }
}

/** A donation and the message that told of it. */
export interface Pair {
  readonly donation: Donation;
  readonly message: Message;
  /**
   * The nanoseconds of its time that a Date cannot hold. Noted keeps milliseconds, so
   * only the printed line has them.
   */
  readonly nanoseconds: number;
}

/** The donations that a message tells of: either pairs or a reason in skipped. */
export class Identified {
  /** The message itself, also if it is skipped. */
  readonly message: Message;
  /** One per donation, in the order of the message. */
  readonly pairs: readonly Pair[];
  /** Why the message has no donation, in a fixed sentence. */
  readonly skipped: string;
  /**
   * Set with skipped when the type or the status is not known. Raise an alarm: it may
   * have been a donation.
   */
  readonly unknown: boolean;
  /** The txn_type or event_type, safe to be logged. */
  readonly type: string;
  /** The fields that were left out, each beginning with the field's name. */
  readonly warnings: readonly string[];

  constructor(found: {
    message: Message;
    pairs: readonly Pair[];
    skipped?: string;
    unknown?: boolean;
    type: string;
    warnings: readonly string[];
  }) {
    this.message = found.message;
    this.pairs = found.pairs;
    this.skipped = found.skipped ?? "";
    this.unknown = found.unknown ?? false;
    this.type = found.type;
    this.warnings = found.warnings;
  }

  /** The same in a ledger: only the receiver knows its ledgers. */
  inLedger(ledger: string): Identified {
    const pairs = this.pairs.map((pair) => ({ ...pair, donation: { ...pair.donation, ledger } }));
    const { message, skipped, unknown, type, warnings } = this;
    return new Identified({ message, pairs, skipped, unknown, type, warnings });
  }

  /**
   * The lines of `noted-identify`, one for each pair: the same bytes as in the other
   * languages.
   */
  lines(): string {
    return this.skipped === "" ? this.pairs.map(line).join("") : `{"skipped":${quoted(this.skipped)}}\n`;
  }
}

function line({ donation, message, nanoseconds }: Pair): string {
  const told = fields({
    ledger: donation.ledger,
    series_id: donation.seriesId,
    event: `EVENT_${donation.event ?? "PAYMENT"}`,
    occurred_at: donation.occurredAt && timestamp(donation.occurredAt, nanoseconds),
    amount: donation.amount,
    currency_code: donation.currencyCode,
    transaction_id: donation.transactionId,
  });
  return `{"donation":{${told}},"message":{${fields({ channel: message.channel, id: message.id })}}}\n`;
}

function fields(values: Record<string, string | undefined>): string {
  return Object.entries(values)
    .flatMap(([name, value]) => (value === undefined || value === "" ? [] : [`"${name}":${quoted(value)}`]))
    .join(",");
}

/**
 * The JSON form of google.protobuf.Timestamp: UTC, with the fewest of 0, 3, 6 and 9
 * digits that hold it.
 */
function timestamp(time: Date, nanoseconds: number): string {
  const [seconds = "", milliseconds = ""] = time.toISOString().slice(0, -1).split(".");
  const fraction = (milliseconds + String(nanoseconds).padStart(6, "0")).replace(/(000)+$/, "");
  return `${seconds}${fraction === "" ? "" : "."}${fraction}Z`;
}

/**
 * Strings of this package need an escape only for " and \. The other escapes are for a
 * ledger that a caller has set.
 */
function quoted(text: string): string {
  const escape = (c: string): string => (c < " " ? `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}` : `\\${c}`);
  return `"${text.replace(/["\\]|[^ -\uffff]/g, escape)}"`;
}
