/** Every answer to PayPal but 200. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    /** A word for logs, from a small set. */
    readonly reason: string,
    /** What is wrong and what to do about it. */
    readonly text: string,
    options?: ErrorOptions,
  ) {
    super(text, options);
    this.name = "Refusal";
  }
}

/** A refusal that lets PayPal come again. */
export const again = (reason: string, text: string, options?: ErrorOptions): Refusal =>
  new Refusal(503, reason, `${text}; come again`, options);

export const noSandbox = (): Refusal =>
  new Refusal(403, "sandbox", "this is a test of PayPal's sandbox, and there is no ledger for tests here");
