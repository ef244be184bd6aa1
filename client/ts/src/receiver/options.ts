/** The options of a receiver, and the messages and answers that it takes and gives. */
import type { Client } from "../client.js";
import type { NotedError } from "../errors.js";
import type { WebhookApiOptions } from "./api.js";
import type { Delivery, Log, Told } from "./work.js";

/** One of PayPal's two ways to tell of a donation. */
export type Channel = "ipn" | "webhook";

/** The answer to PayPal. PayPal reads only the status; a person reads the rest. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** A message's headers, as Node, Express, Fastify or fetch has them. */
export type Headers =
  Iterable<readonly [string, string]> | Readonly<Record<string, string | readonly string[] | undefined>>;

export interface ReceiverOptions {
  readonly client: Client;
  /** Processes one donation. If it throws, PayPal comes again. */
  readonly process: (delivery: Delivery) => unknown;
  /**
   * Keeps for a person a donation that Noted cannot decide, such as one older than its
   * notes. PayPal will not come again, so it must not lose the donation.
   */
  readonly undecided: (told: Told, error: NotedError) => unknown;
  /** The ledger that the donations belong to; the ledger without a name if absent. */
  readonly ledger?: string;
  /** The ledger that PayPal's tests belong to; without it they are refused. */
  readonly sandboxLedger?: string;
  /**
   * Our receiver ids and e-mail addresses. An IPN to another is refused. Without any, the
   * receiver takes no IPNs.
   */
  readonly accounts?: readonly string[];
  /**
   * The webhook's id in PayPal's dashboard; the signature covers it. Without it, the
   * receiver takes no webhooks.
   */
  readonly webhookId?: string;
  /** The webhook's id in the sandbox's dashboard. */
  readonly sandboxWebhookId?: string;
  /**
   * How webhooks are verified: by their signature and PayPal's certificate, or with these
   * credentials by PayPal's API.
   */
  readonly webhookVerify?: "signature" | WebhookApiOptions;
  /** The path of IPNs below the receiver's prefix: /ipn. */
  readonly ipnPath?: string;
  /** The path of webhooks below it: /webhook. */
  readonly webhookPath?: string;
  /** How many bytes a message may have: 262,144. */
  readonly maxBody?: number;
  /** Milliseconds that PayPal may take to answer one question: 10,000. */
  readonly verifyTimeoutMs?: number;
  /**
   * How old a transmission of a webhook may be, in milliseconds: 73 hours, because PayPal
   * redelivers for three days.
   */
  readonly webhookMaxAgeMs?: number;
  /**
   * The URL to post an IPN back to, over https or on this machine. By default it is
   * PayPal's, or its sandbox's for a test.
   */
  readonly ipnVerifyUrl?: string;
  /**
   * The hosts that serve PayPal's certificates, as host or host:port. By default they are
   * PayPal's.
   */
  readonly certHosts?: readonly string[];
  /**
   * PEM certificates: one of them, instead of one of Node's, must have issued PayPal's
   * certificate or its issuer's.
   */
  readonly certRoots?: string | Buffer;
  /** The log for refusals and for messages that need a person: console. */
  readonly log?: Log;
  /** The clock for ages. */
  readonly now?: () => Date;
}
