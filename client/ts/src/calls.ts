/**
 * Translates between this package's types and the generated messages.
 */
import { randomBytes } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampDate, timestampFromDate, type Duration, type Timestamp } from "@bufbuild/protobuf/wkt";
import * as pb from "./gen/noted/v1/noted_pb.js";
import { breach, wrongAnswer } from "./status.js";
import {
  Verdict,
  type Donation,
  type Event,
  type Evidence,
  type Existence,
  type ListRequest,
  type Message,
  type Note,
  type NotedDonation,
  type NoteRequest,
  type NoteResponse,
  type Page,
  type State,
} from "./types.js";

/**
 * An id for NoteRequest.requestId. It is random, because the receipt can be made from it.
 */
export const newRequestId = (): string => randomBytes(16).toString("hex");

export function withRequestId(request: NoteRequest): NoteRequest & { readonly requestId: string } {
  const { requestId } = request;
  return { ...request, requestId: requestId === undefined || requestId === "" ? newRequestId() : requestId };
}

export const noting = (donation: Donation): string => `noting ${donation.seriesId}`;

export function toRequest(request: NoteRequest): MessageInitShape<typeof pb.NoteDonationRequestSchema> {
  const { holdMs = 0 } = request;
  return {
    ...toSubject(request.donation, request.message),
    ...(holdMs === 0 ? {} : { hold: toDuration(holdMs) }),
    requestId: text("requestId", request.requestId),
  };
}

/** The donation and the message of note and exists. */
export function toSubject(
  donation: Donation,
  message: Message | undefined,
): { donation: MessageInitShape<typeof pb.DonationSchema>; message?: MessageInitShape<typeof pb.MessageSchema> } {
  return {
    donation: {
      ledger: text("donation.ledger", donation.ledger),
      seriesId: text("donation.seriesId", donation.seriesId),
      event: named("donation.event", pb.Event, donation.event) ?? pb.Event.UNSPECIFIED,
      ...timestamp("occurredAt", "donation.occurredAt", donation.occurredAt),
      amount: text("donation.amount", donation.amount),
      currencyCode: text("donation.currencyCode", donation.currencyCode),
      transactionId: text("donation.transactionId", donation.transactionId),
    },
    ...(message === undefined
      ? {}
      : {
          message: {
            channel: text("message.channel", message.channel),
            id: text("message.id", message.id),
            ...timestamp("receivedAt", "message.receivedAt", message.receivedAt),
          },
        }),
  };
}

export function toList(
  request: ListRequest,
  pageToken: string,
): MessageInitShape<typeof pb.ListDonationsRequestSchema> {
  return {
    ledger: text("ledger", request.ledger),
    seriesId: text("seriesId", request.seriesId),
    state: named("state", pb.State, request.state) ?? pb.State.UNSPECIFIED,
    seenOnlyOn: text("seenOnlyOn", request.seenOnlyOn),
    transactionId: text("transactionId", request.transactionId),
    ...timestamp("notedAfter", "notedAfter", request.notedAfter),
    ...timestamp("notedBefore", "notedBefore", request.notedBefore),
    pageSize: request.pageSize ?? 0,
    pageToken,
  };
}

export function toDuration(ms: number): { seconds: bigint; nanos: number } {
  if (!Number.isFinite(ms)) throw new TypeError(`a hold of ${ms} ms: it must be a number`);
  const whole = Math.trunc(ms / 1000);
  return { seconds: BigInt(whole), nanos: Math.round((ms - whole * 1000) * 1e6) };
}

/**
 * The answer to a request. Throws if this release does not know the verdict, or if the
 * note is another donation's.
 */
export function fromResponse(donation: Donation, response: pb.NoteDonationResponse): NoteResponse {
  const verdict = name(pb.Verdict, response.verdict);
  const shadow = name(pb.Verdict, response.shadowVerdict);
  if (!isVerdict(verdict)) {
    throw breach(noting(donation), `the server's verdict ${verdict} is unknown to this client; update the library`);
  }
  return {
    verdict,
    note: ofDonation(noting(donation), donation, response.note),
    evidence: evidence(response.evidence),
    receipt: response.receipt,
    retryAfterMs: response.retryAfter === undefined ? undefined : fromDuration(response.retryAfter),
    differences: response.differences,
    shadowVerdict: isVerdict(shadow) ? shadow : undefined,
  };
}

export function fromExistence(donation: Donation, response: pb.DonationExistsResponse): Existence {
  const { exists, note } = response;
  const act = `looking for ${donation.seriesId}`;
  if (exists && note === undefined) throw breach(act, "the server says that there is a note, and does not send it");
  return {
    exists,
    note: note === undefined ? undefined : ofDonation(act, donation, note),
    evidence: evidence(response.evidence),
  };
}

/** Refuses a note of another ledger or series: it must not decide about this donation. */
export function ofDonation(
  act: string,
  asked: { readonly ledger?: string | undefined; readonly seriesId: string },
  note: pb.Note | undefined,
): Note {
  const answered = fromNote(act, note);
  const { ledger, seriesId } = answered.donation;
  if (ledger !== (asked.ledger ?? "") || seriesId !== asked.seriesId) {
    throw wrongAnswer(act, `series "${seriesId}" of ledger "${ledger}"`);
  }
  return answered;
}

/** Refuses another note than the known one. */
export function sameNote(act: string, donationId: string, note: Note): Note {
  if (note.donationId !== donationId) throw wrongAnswer(act, `donation ${note.donationId}`);
  return note;
}

export function fromPage(request: ListRequest, page: pb.ListDonationsResponse): Page {
  const { ledger, seriesId } = request;
  const notes = page.notes.map((note) =>
    ofDonation(
      "listing",
      { ledger, seriesId: seriesId === undefined || seriesId === "" ? (note.donation?.seriesId ?? "") : seriesId },
      note,
    ),
  );
  return { notes, nextPageToken: page.nextPageToken };
}

export function fromNote(act: string, note: pb.Note | undefined): Note {
  if (note?.donation === undefined || note.donationId === "")
    throw breach(act, "the server sent no note; is it Noted?");
  return {
    donationId: note.donationId,
    donation: fromDonation(note.donation),
    sightings: note.sightings.map((sighting) => ({
      message: {
        channel: sighting.message?.channel ?? "",
        id: sighting.message?.id ?? "",
        ...(sighting.message?.receivedAt === undefined
          ? {}
          : { receivedAt: timestampDate(sighting.message.receivedAt) }),
      },
      transactionId: sighting.transactionId,
      seenAt: date(sighting.seenAt),
    })),
    state: name(pb.State, note.state) as State,
    notedAt: date(note.notedAt),
    heldUntil: date(note.heldUntil),
    forgetAt: date(note.forgetAt),
    attempt: note.attempt,
  };
}

function fromDonation(donation: pb.Donation): NotedDonation {
  return {
    seriesId: donation.seriesId,
    ledger: donation.ledger,
    event: donation.event === pb.Event.UNSPECIFIED ? "PAYMENT" : (name(pb.Event, donation.event) as Event),
    occurredAt: date(donation.occurredAt),
    amount: donation.amount,
    currencyCode: donation.currencyCode,
    transactionId: donation.transactionId,
  };
}

const evidence = (value: pb.Evidence): Evidence =>
  value === pb.Evidence.UNSPECIFIED ? "NONE" : (name(pb.Evidence, value) as Evidence);

const date = (timestamp: Timestamp | undefined): Date | undefined =>
  timestamp === undefined ? undefined : timestampDate(timestamp);

const fromDuration = (duration: Duration): number => Number(duration.seconds) * 1000 + duration.nanos / 1e6;

/**
 * A value of an enum by its name. A number that this release does not know stays, as
 * text.
 */
function name(values: Readonly<Record<number, string | undefined>>, value: number): string {
  return values[value] ?? String(value);
}

const isVerdict = (name: string): name is Verdict => Object.hasOwn(Verdict, name);

// JavaScript does not check these values. Protobuf would refuse them with its own sentence,
// or send another value.

function text(field: string, value: string | undefined): string {
  if (value === undefined) return "";
  if (typeof value !== "string") {
    throw new TypeError(
      `${field} has the type ${typeof value}; give it as text${field.endsWith("amount") ? ', such as "25.00"' : ""}`,
    );
  }
  return value;
}

/**
 * The value of an enum that has this name. The enums of protoc-gen-es have their numbers
 * as keys too.
 */
function named<Name extends string, Value>(
  field: string,
  values: Readonly<Record<Name, Value>>,
  name: string | undefined,
): Value | undefined {
  if (name === undefined) return undefined;
  if (/^[A-Z]/.test(name) && name !== "UNSPECIFIED" && Object.hasOwn(values, name)) return values[name as Name];
  throw new TypeError(`${field} is ${name}, which the contract does not know`);
}

function timestamp<Key extends string>(
  key: Key,
  field: string,
  time: Date | undefined,
): Partial<Record<Key, Timestamp>> {
  if (time === undefined) return {};
  if (!(time instanceof Date) || Number.isNaN(time.getTime())) throw new TypeError(`${field} is no valid Date`);
  return { [key]: timestampFromDate(time) } as Partial<Record<Key, Timestamp>>;
}
