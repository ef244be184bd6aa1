#!/usr/bin/env node
/**
 * Says which donations a PayPal message tells of, without asking a server:
 * `noted-identify ipn|webhook < body`.
 *
 * It prints a line of JSON for each donation, or {"skipped":"why"}: the same bytes as
 * `notectl identify`. Fields that it left out stand on standard error. For a message that
 * cannot be read it prints only a sentence there, and exits with 1. It does not verify
 * that the message is PayPal's.
 */
import { identifyIpn, identifyWebhook, MalformedError } from "./paypal/index.js";

const maxBody = 4 << 20; // far more than PayPal sends

async function run(args: readonly string[]): Promise<number> {
  const [channel] = args;
  if (args.length !== 1 || (channel !== "ipn" && channel !== "webhook")) {
    say("say what to read: noted-identify ipn|webhook < body");
    return 2;
  }
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    if ((size += chunk.length) > maxBody) {
      say(`reading the message: it is longer than ${maxBody} bytes`);
      return 1;
    }
  }
  try {
    const identified = (channel === "ipn" ? identifyIpn : identifyWebhook)(Buffer.concat(chunks));
    for (const warning of identified.warnings) say(`warning: ${warning}`);
    if (identified.unknown) say(`warning: ${identified.skipped}; it may have been a donation: look at it`);
    process.stdout.write(identified.lines());
    return 0;
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    say(`identifying the message: ${error.message}`);
    return 1;
  }
}

function say(text: string): void {
  process.stderr.write(`noted-identify: ${text}\n`);
}

void run(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
  process.stdin.destroy();
});
