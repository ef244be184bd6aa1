/** What a receiver is made of, and what it takes and gives. */
import type { Client } from "../client.js";
import type { NotedError } from "../errors.js";
import type { WebhookApiOptions } from "./api.js";
import type { Delivery, Log, Told } from "./work.js";

/** One of PayPal's two ways to tell of a donation. */
export type Channel = "ipn" | "webhook";

/** What PayPal is answered. It wants nothing but the status; a person reads the rest. */
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
  /** Processes one donation. Where it throws, PayPal is told to come again. */
  readonly process: (delivery: Delivery) => unknown;
  /** Keeps for a person what Noted cannot decide, such as a donation older than its notes. PayPal will not come again, so it must not lose it. */
  readonly undecided: (told: Told, error: NotedError) => unknown;
  /** The book that the donations belong to; the one without a name where it is absent. */
  readonly ledger?: string;
  /** The book that PayPal's tests belong to; absent refuses them. */
  readonly sandboxLedger?: string;
  /** The receiver ids and e-mail addresses that are ours; an IPN to another is refused. None: IPNs are not received. */
  readonly accounts?: readonly string[];
  /** What PayPal's dashboard shows for the webhook; the signature covers it. Absent: webhooks are not received. */
  readonly webhookId?: string;
  /** The same of the sandbox's dashboard. */
  readonly sandboxWebhookId?: string;
  /** How webhooks are verified: by their signature and PayPal's certificate, or with these credentials by PayPal's API. */
  readonly webhookVerify?: "signature" | WebhookApiOptions;
  /** Where PayPal posts IPNs to, below where the receiver is mounted: /ipn. */
  readonly ipnPath?: string;
  /** And where webhooks: /webhook. */
  readonly webhookPath?: string;
  /** How many bytes a message may have: 262,144. */
  readonly maxBody?: number;
  /** Milliseconds that PayPal may take to answer one question: 10,000. */
  readonly verifyTimeoutMs?: number;
  /** How old a transmission of a webhook may be, in milliseconds: 73 hours, since PayPal redelivers for three days. */
  readonly webhookMaxAgeMs?: number;
  /** Where an IPN is posted back to, over https or on this machine, instead of PayPal's, or of its sandbox's for a test. */
  readonly ipnVerifyUrl?: string;
  /** The hosts that a certificate may be fetched from, as host or host:port, instead of PayPal's. */
  readonly certHosts?: readonly string[];
  /** PEM certificates: one of them, instead of one of Node's, must have issued PayPal's, or the issuer between. */
  readonly certRoots?: string | Buffer;
  /** Where refusals and what a person must look at are told: console. */
  readonly log?: Log;
  /** The clock that ages are judged by. */
  readonly now?: () => Date;
}
