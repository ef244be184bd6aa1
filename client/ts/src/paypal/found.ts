/** The parts of which both channels build their answers. */
import type { Donation, Event } from "../types.js";
import type { Money } from "./fields.js";
import { MalformedError } from "./result.js";
import type { Moment } from "./times.js";

/** A donation, and the nanoseconds of its time that a Date cannot hold. */
export interface Found {
  readonly donation: Donation;
  readonly nanoseconds: number;
}

/** The donations of a message, or why it is skipped. */
export type Finding = readonly Found[] | { readonly skipped: string; readonly unknown: boolean };

export const skipped = (reason: string): Finding => ({ skipped: reason, unknown: false });

export const unknown = (reason: string): Finding => ({ skipped: reason, unknown: true });

export const isSkipped = (finding: Finding): finding is { readonly skipped: string; readonly unknown: boolean } =>
  !Array.isArray(finding);

/** A donation. Every field but the series and the event may be missing. */
export function found(
  seriesId: string,
  event: Event,
  more: { readonly transactionId?: string; readonly moment?: Moment | undefined; readonly money?: Money } = {},
): Found {
  const { transactionId = "", moment, money } = more;
  const donation: Donation = {
    seriesId,
    event,
    ...(moment === undefined ? {} : { occurredAt: moment.time }),
    ...(money === undefined || money.amount === "" ? {} : money),
    ...(transactionId === "" ? {} : { transactionId }),
  };
  return { donation, nanoseconds: moment?.nanoseconds ?? 0 };
}

/** The id of a series, or an error that names the fields in which it should stand. */
export function series(id: string, candidates: string): string {
  if (id === "") throw new MalformedError(candidates, "no usable id names the series; check that the body is whole");
  return id;
}
