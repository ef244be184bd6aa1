/** The rules that both channels share, for one field at a time. */
import { trimmed } from "./form.js";
import { parseTime, type Moment } from "./times.js";

/**
 * A field's text as it is written, and a problem if the value is not text. The text has
 * one character for each byte (Latin-1), so that rules about bytes hold for characters.
 */
export type Lookup = (field: string) => { readonly text: string; readonly problem?: string | undefined };

/** The contract's limit of an id, in bytes. */
const maxId = 128;

/** Both are limits of the contract; the amount's sign is gone before it is tried. */
const amountPattern = /^\d{1,15}(\.\d{1,8})?$/;
const currencyPattern = /^[A-Z]{3}$/;

export interface Money {
  readonly amount: string;
  readonly currencyCode: string;
}

const none: Money = { amount: "", currencyCode: "" };

/** Reads the fields of one message and collects the warnings. */
export class Reader {
  private readonly warned = new Map<string, string>(); // field name → its one warning

  constructor(private readonly lookup: Lookup) {}

  get warnings(): string[] {
    return [...this.warned].map(([field, problem]) => `${field}: ${problem}`);
  }

  /**
   * Warns once for a field, however many rules read it, so that all languages count the
   * same warnings.
   */
  warn(field: string, problem: string): void {
    if (!this.warned.has(field)) this.warned.set(field, problem);
  }

  /** A field without the spaces around it, or "" if it is absent or not text. */
  text(field: string): string {
    const { text, problem } = this.lookup(field);
    if (problem === undefined) return trimmed(text);
    this.warn(field, `${problem}; taken as absent`);
    return "";
  }

  /** A field that the contract takes as an id, or "". */
  id(field: string): string {
    const text = this.text(field);
    if (text === "" || fits(text)) return text;
    this.warn(field, `is not an id: more than ${maxId} bytes, or bytes that are not printable ASCII; taken as absent`);
    return "";
  }

  /**
   * The first of the fields that is an id, or "". It does not read the fields behind it.
   */
  firstId(...fields: string[]): string {
    for (const field of fields) {
      const found = this.id(field);
      if (found !== "") return found;
    }
    return "";
  }

  /**
   * A field that can name a series, or "". An id that begins with B- names a means of
   * payment.
   */
  seriesId(field: string): string {
    const id = this.id(field);
    return id.startsWith("B-") ? "" : id;
  }

  /** A field as a time; undefined if it is absent or cannot be read. */
  time(field: string): Moment | undefined {
    const text = this.text(field);
    if (text === "") return undefined;
    const moment = parseTime(text);
    if (moment === undefined) this.warn(field, "is not a time in a known format; left out");
    return moment;
  }

  /**
   * An amount without its sign, and its currency: both or neither, because Noted can
   * compare neither alone.
   */
  money(amountField: string, currencyField: string): Money {
    const written = this.text(amountField);
    if (written === "") return none;
    const amount = written.replace(/^[+-]/, "");
    if (!amountPattern.test(amount)) {
      this.warn(amountField, "is no plain decimal number; left out, and the currency with it");
      return none;
    }
    const currencyCode = this.text(currencyField);
    if (!currencyPattern.test(currencyCode)) {
      this.warn(currencyField, "is not three capital letters; left out, and the amount with it");
      return none;
    }
    return { amount, currencyCode };
  }
}

/** Whether the contract takes the text as an id. */
export const fits = (text: string): boolean => text.length <= maxId && /^[\x21-\x7e]+$/.test(text);

/**
 * Text of a message, harmless in a log line and in a skip reason: the same bytes in every
 * language, without an escape.
 */
export const sanitised = (text: string): string => text.replace(/[^\x20-\x7e]|["\\]/g, "?").slice(0, 64);

/**
 * toLowerCase for A to Z alone. Unicode has other letters that become ASCII, and
 * languages do not agree on them.
 */
export const lower = (text: string): string => text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
