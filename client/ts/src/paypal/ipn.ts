/** The legacy channel: each message is an urlencoded form. */
import type { Event } from "../types.js";
import { lower, Reader, sanitised } from "./fields.js";
import { Form } from "./form.js";
import { found, isSkipped, series, skipped, unknown, type Finding, type Found } from "./found.js";
import { Identified, MalformedError } from "./result.js";

/** The txn_types that alone decide the event. */
const typeEvents: ReadonlyMap<string, Event> = new Map([
  ["subscr_signup", "SIGNUP"],
  ["recurring_payment_profile_created", "SIGNUP"],
  ["subscr_modify", "CHANGE"],
  ["subscr_cancel", "CANCELLATION"],
  ["recurring_payment_profile_cancel", "CANCELLATION"],
  ["subscr_eot", "EXPIRY"],
  ["recurring_payment_expired", "EXPIRY"],
  ["recurring_payment_suspended", "SUSPENSION"],
  ["recurring_payment_suspended_due_to_max_failed_payment", "SUSPENSION"],
  ["subscr_failed", "PAYMENT_FAILED"],
  ["recurring_payment_skipped", "PAYMENT_FAILED"],
  ["recurring_payment_failed", "PAYMENT_FAILED"],
  ["recurring_payment_outstanding_payment_failed", "PAYMENT_FAILED"],
  ["new_case", "DISPUTE"],
  ["adjustment", "ADJUSTMENT"],
]);

/**
 * The txn_types whose payment_status decides the event. Refunds and reversals have no
 * type: that is the empty one.
 */
const moneyTypes: ReadonlySet<string> = new Set([
  "",
  "subscr_payment",
  "recurring_payment",
  "recurring_payment_outstanding_payment",
  "web_accept",
  "express_checkout",
  "cart",
  "send_money",
  "virtual_terminal",
  "merch_pmt",
  "pro_hosted",
  "paypal_here",
  "invoice_payment",
]);

/** The known txn_types that tell of no donation, with the reason. */
const skippedTypes: ReadonlyMap<string, string> = new Map([
  ["masspay", "masspay tells of payments made, not of a donation"],
  ["payout", "payout tells of payments made, not of a donation"],
  ["mp_signup", "mp_signup tells of an agreement, not of a donation"],
  ["mp_cancel", "mp_cancel tells of an agreement, not of a donation"],
  ["mp_notification", "mp_notification tells of an agreement, not of a donation"],
]);

/** The values of payment_status. */
const statusEvents: ReadonlyMap<string, Event> = new Map([
  ["completed", "PAYMENT"],
  ["processed", "PAYMENT"],
  ["pending", "PAYMENT_PENDING"],
  ["in-progress", "PAYMENT_PENDING"],
  ["created", "PAYMENT_PENDING"],
  ["denied", "PAYMENT_FAILED"],
  ["declined", "PAYMENT_FAILED"],
  ["failed", "PAYMENT_FAILED"],
  ["expired", "PAYMENT_FAILED"],
  ["voided", "PAYMENT_FAILED"],
  ["refunded", "REFUND"],
  ["partially_refunded", "REFUND"],
  ["reversed", "REVERSAL"],
  ["canceled_reversal", "REVERSAL_CANCELED"],
]);

/** Reads the body of an IPN, exactly as it was posted. Throws MalformedError. */
export function identifyIpn(body: Uint8Array): Identified {
  const form = new Form(body);
  if (form.fields.length === 0) {
    throw new MalformedError("body", "holds no field; pass the body of PayPal's POST unchanged");
  }
  const reader = new Reader(form.lookup);
  const txnType = reader.text("txn_type");
  const finding = find(reader, txnType);
  const message = { channel: "ipn", id: form.digest() };
  const told = { message, type: sanitised(txnType), warnings: reader.warnings };
  if (isSkipped(finding)) return new Identified({ ...told, ...finding, pairs: [] });
  return new Identified({ ...told, pairs: finding.map((one) => ({ ...one, message })) });
}

/** Decides the event, then builds the donations. */
function find(reader: Reader, txnType: string): Finding {
  const kind = lower(txnType);
  const reason = skippedTypes.get(kind);
  if (reason !== undefined) return skipped(reason);
  let event = typeEvents.get(kind);
  if (event === undefined) {
    if (!moneyTypes.has(kind)) return unknown(`txn_type ${sanitised(txnType)} is not known`);
    const status = reader.text("payment_status");
    event = statusEvents.get(lower(status));
    if (event === undefined) {
      if (status !== "") return unknown(`payment_status ${sanitised(status)} is not known`);
      return unknown(txnType === "" ? "neither txn_type nor payment_status is given" : "payment_status is missing");
    }
    // PayPal calls a payment that leaves the account Completed too: the sign tells the
    // direction. As a donation it would be thanked for.
    if (event === "PAYMENT" && reader.text("mc_gross").startsWith("-")) {
      if (reader.id("parent_txn_id") === "") return skipped("money went out and no parent_txn_id says for what");
      event = "ADJUSTMENT";
    }
  }
  const donation = build(reader, event);
  if (kind !== "recurring_payment_profile_created") return [donation];
  return [donation, ...initialPayment(reader, donation.donation.seriesId)];
}

/** Fills in the fields by which an event of its kind is known. */
function build(reader: Reader, event: Event): Found {
  const seriesId = seriesOf(reader, event);
  switch (event) {
    case "SIGNUP":
    case "CHANGE":
    case "SUSPENSION":
    case "REACTIVATION":
    case "CANCELLATION":
    case "EXPIRY":
      return found(seriesId, event); // never time_created, which is when the series began
    case "DISPUTE":
      return found(seriesId, event, { transactionId: reader.id("case_id") });
    default:
      return found(seriesId, event, {
        transactionId: reader.id("txn_id"),
        moment: reader.time("payment_date"),
        money: reader.money("mc_gross", "mc_currency"),
      });
  }
}

function seriesOf(reader: Reader, event: Event): string {
  switch (event) {
    case "REFUND":
      // Never its parent: the webhook often does not name it, and two partial refunds of
      // one sum must not meet.
      return series(reader.id("txn_id"), "txn_id");
    case "REVERSAL":
    case "REVERSAL_CANCELED":
    case "ADJUSTMENT":
      return series(reader.firstId("parent_txn_id", "txn_id"), "parent_txn_id, txn_id");
    case "DISPUTE":
      return series(reader.firstId("txn_id", "case_id"), "txn_id, case_id");
    default: {
      // The I- form wins because in 2018 PayPal renamed S- series to it, and the webhook
      // channel knows no other.
      const [profile, button] = [reader.seriesId("recurring_payment_id"), reader.seriesId("subscr_id")];
      if (button.startsWith("I-") && !profile.startsWith("I-")) return button;
      const named = profile === "" ? button : profile;
      const id = named === "" ? reader.firstId("txn_id", "old_subscr_id") : named;
      return series(id, "recurring_payment_id, subscr_id, txn_id, old_subscr_id");
    }
  }
}

/**
 * The first payment in the message of a profile's creation. No other IPN tells of it;
 * later ones only repeat the field.
 */
function initialPayment(reader: Reader, seriesId: string): Found[] {
  if (reader.text("initial_payment_txn_id") === "") return [];
  const event = statusEvents.get(lower(reader.text("initial_payment_status")));
  if (event !== "PAYMENT" && event !== "PAYMENT_PENDING" && event !== "PAYMENT_FAILED") {
    reader.warn(
      "initial_payment_status",
      "is none that a payment has; the initial payment is left out, look at it by hand",
    );
    return [];
  }
  return [
    found(seriesId, event, {
      transactionId: reader.id("initial_payment_txn_id"),
      moment: reader.time("time_created"),
      money: reader.money("initial_payment_amount", "currency_code"),
    }),
  ];
}
