/** The channel of today: each message is a JSON event. */
import type { Event, Message } from "../types.js";
import { Document } from "./document.js";
import { fits, lower, Reader, sanitised, type Money } from "./fields.js";
import { found, isSkipped, series, skipped, unknown, type Finding, type Found } from "./found.js";
import { Identified, MalformedError } from "./result.js";

/**
 * The events of a series itself. They hold no money: the event of a sale tells of the
 * last payment that they repeat.
 */
const stateEvents: ReadonlyMap<string, Event> = new Map([
  ["billing.subscription.created", "SIGNUP"], // of a v1 agreement only
  ["billing.subscription.activated", "SIGNUP"],
  ["billing.subscription.updated", "CHANGE"],
  ["billing.subscription.re-activated", "REACTIVATION"],
  ["billing.subscription.suspended", "SUSPENSION"],
  ["billing.subscription.cancelled", "CANCELLATION"],
  ["billing.subscription.expired", "EXPIRY"],
  ["billing.subscription.payment.failed", "PAYMENT_FAILED"],
]);

/**
 * The known event types that tell of no donation, by their beginning, and what they tell
 * of.
 */
const noDonation: readonly (readonly [prefix: string, tells: string])[] = [
  ["checkout.order.", "an order, not of money"],
  ["payments.payment.", "an order, not of money"],
  ["checkout.payment-approval.", "an approval, not of money"],
  ["payment.authorization.", "an authorization, not of money"],
  ["payment.refund.", "a refund that is not done, not of money"],
  ["payment.payout", "payments made, not of a donation"],
  ["payment.referenced-payout", "payments made, not of a donation"],
  ["billing.plan.", "a plan, not of a donation"],
  ["billing_agreements.", "an agreement, not of a donation"],
  ["vault.", "a means of payment, not of a donation"],
  ["merchant.", "an account, not of a donation"],
];

/** Reads the body of a webhook event, exactly as it was posted. Throws MalformedError. */
export function identifyWebhook(body: Uint8Array): Identified {
  const document = new Document(body);
  const reader = new Reader(document.lookup);
  const eventType = reader.text("event_type");
  if (eventType === "") {
    throw new MalformedError(
      "event_type",
      "is missing or no text; pass the event that PayPal posted, not the resource in it",
    );
  }
  const finding = find(reader, document, eventType);
  const told = { type: sanitised(eventType) };
  if (isSkipped(finding)) {
    // A skipped message needs no id, and gets no warning of it.
    const warnings = reader.warnings;
    return new Identified({ ...told, ...finding, message: messageOf(reader), warnings, pairs: [] });
  }
  const message = messageOf(reader);
  if (message.id === undefined) reader.warn("id", "is missing; the message is told without an id");
  return new Identified({
    ...told,
    message,
    warnings: reader.warnings,
    pairs: finding.map((one) => ({ ...one, message })),
  });
}

function messageOf(reader: Reader): Message {
  const id = reader.id("id");
  return { channel: "webhook", ...(id === "" ? {} : { id }) };
}

function find(reader: Reader, document: Document, eventType: string): Finding {
  const kind = lower(eventType);
  const state = stateEvents.get(kind);
  if (state !== undefined) {
    if (kind === "billing.subscription.created" && isVersion2(reader)) {
      return skipped("a subscription was created but is not agreed to yet");
    }
    return [found(series(reader.id("resource.id"), "resource.id"), state)];
  }
  switch (kind) {
    case "payment.sale.completed":
    case "payment.sale.pending":
    case "payment.sale.denied": {
      const [agreement, id] = [reader.seriesId("resource.billing_agreement_id"), reader.id("resource.id")];
      const named = agreement === "" ? id : agreement;
      return [money(reader, paymentEvent(reader, kind), named, id, "resource.billing_agreement_id, resource.id")];
    }
    case "payment.capture.completed":
    case "payment.capture.pending":
    case "payment.capture.denied":
    case "payment.capture.declined": {
      const id = reader.id("resource.id");
      return [money(reader, paymentEvent(reader, kind), id, id, "resource.id")];
    }
    case "payment.sale.refunded":
    case "payment.capture.refunded": {
      // Never the parent: PayPal often leaves it out, and two partial refunds of one sum
      // must not meet.
      const id = reader.id("resource.id");
      return [money(reader, "REFUND", id, id, "resource.id")];
    }
    case "payment.sale.reversed": {
      const named = reader.id("resource.sale_id");
      const parent = named === "" ? linked(reader, document, ["sale"], ["/sale/"]) : named;
      return [reversal(reader, parent, "resource.sale_id, resource.links, resource.id")];
    }
    case "payment.capture.reversed": {
      const fields = ["resource.capture_id", "resource.supplementary_data.related_ids.capture_id"];
      const link = linked(reader, document, ["up", "capture"], ["/capture/", "/captures/"]);
      const parent = link === "" ? reader.firstId(...fields) : link;
      return [reversal(reader, parent, ["resource.links", ...fields, "resource.id"].join(", "))];
    }
    case "customer.dispute.created":
      return disputes(reader, document);
    case "customer.dispute.updated":
    case "customer.dispute.resolved":
      return skipped(`${sanitised(eventType)} tells of a dispute that is known, not of a donation`);
  }
  const known = noDonation.find(([prefix]) => kind.startsWith(prefix));
  if (known !== undefined) return skipped(`${sanitised(eventType)} tells of ${known[1]}`);
  return unknown(`event_type ${sanitised(eventType)} is not known`);
}

/**
 * A donation of an event that moves money. Its time is the resource's: the event's own
 * time can lag by hours, and no IPN has it.
 */
function money(reader: Reader, event: Event, seriesId: string, transactionId: string, candidates: string): Found {
  const moment = reader.time("resource.create_time");
  return found(series(seriesId, candidates), event, { transactionId, moment, money: resourceMoney(reader) });
}

/**
 * A payment's reversal. A resource that names no parent, or itself, may be the payment:
 * reports differ. Its id serves as a series in either case. As a transaction id, the
 * payment's would contradict the IPN's, and its time can be months back.
 */
function reversal(reader: Reader, parent: string, candidates: string): Found {
  const id = reader.id("resource.id");
  if (parent !== "" && parent !== id) return money(reader, "REVERSAL", parent, id, candidates);
  return found(series(id, candidates), "REVERSAL", { money: resourceMoney(reader) });
}

/** An amount by the names of the first API, else of the second. */
function resourceMoney(reader: Reader): Money {
  if (reader.text("resource.amount.total") !== "")
    return reader.money("resource.amount.total", "resource.amount.currency");
  return reader.money("resource.amount.value", "resource.amount.currency_code");
}

/**
 * Tells whether a payment is completed, pending or failed. The name of the event is not
 * enough: PayPal sends COMPLETED for sales that are still pending. A payment remains a
 * payment when its state becomes refunded or reversed: the money came.
 */
function paymentEvent(reader: Reader, kind: string): Event {
  if (kind.endsWith(".denied") || kind.endsWith(".declined")) return "PAYMENT_FAILED";
  const state = reader.text("resource.state");
  switch (lower(state === "" ? reader.text("resource.status") : state)) {
    case "denied":
    case "declined":
    case "failed":
      return "PAYMENT_FAILED";
    case "":
    case "completed":
    case "partially_refunded":
    case "refunded":
    case "reversed":
      return kind.endsWith(".completed") ? "PAYMENT" : "PAYMENT_PENDING";
    default:
      return "PAYMENT_PENDING";
  }
}

/**
 * Tells a subscription of today's API, which is created before the donor agrees to it,
 * from an agreement of the first API.
 */
function isVersion2(reader: Reader): boolean {
  const [version, resource] = [reader.text("resource_version"), reader.text("resource_type")];
  return version.startsWith("2") || lower(resource) === "subscription";
}

/**
 * The id of the payment that a link of one of the rels leads to, or "". It stands behind
 * the last of the paths in the link.
 */
function linked(reader: Reader, document: Document, rels: readonly string[], paths: readonly string[]): string {
  const { count, problem } = document.length("resource.links");
  if (problem !== undefined) reader.warn("resource.links", `${problem}; taken as absent`);
  for (let i = 0; i < count; i++) {
    const link = `resource.links.${i}`;
    if (!rels.includes(lower(reader.text(`${link}.rel`)))) continue;
    const href = reader.text(`${link}.href`);
    const starts = paths.filter((path) => href.includes(path)).map((path) => href.lastIndexOf(path) + path.length);
    if (starts.length === 0) continue;
    const [id = ""] = href.slice(Math.max(...starts)).split(/[/?#]/);
    if (fits(id)) return id;
    reader.warn(`${link}.href`, "names no payment by a usable id; taken as absent");
  }
  return "";
}

/**
 * One donation of each disputed transaction, in the message's order, or of the dispute
 * itself if it names no transaction.
 */
function disputes(reader: Reader, document: Document): readonly Found[] {
  const list = "resource.disputed_transactions";
  const { count, problem } = document.length(list);
  if (problem !== undefined) reader.warn(list, `${problem}; taken as absent`);
  const disputed = new Map<string, Found>(); // by its series
  for (let i = 0; i < count; i++) {
    const field = `${list}.${i}.seller_transaction_id`;
    const id = reader.id(field);
    if (id === "") reader.warn(field, "is missing; this transaction is left out");
    else if (!disputed.has(id))
      disputed.set(id, found(id, "DISPUTE", { transactionId: reader.id("resource.dispute_id") }));
  }
  if (disputed.size > 0) return [...disputed.values()];
  const id = reader.id("resource.dispute_id");
  return [found(series(id, `${list}, resource.dispute_id`), "DISPUTE", { transactionId: id })];
}
