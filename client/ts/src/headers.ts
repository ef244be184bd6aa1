/** The caller's own headers, such as the traceparent of a trace. */
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";

/** Those that this package or gRPC sets, and those that decide how a call is read. */
const reserved = new RegExp(
  "^(?:authorization|connection|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade|user-agent)$" +
    "|^(?:accept|connect|content|grpc|proxy)-|-bin$",
);

/** In bytes, of all names and values. The server takes no more than 16 KiB in all. */
const most = 8 << 10;

/**
 * Adds the function's headers to each call. If the function fails, the call goes without
 * them: a trace must not cost a donation.
 */
export function adding(headers: () => unknown): Interceptor {
  if (typeof headers !== "function") throw new TypeError("headers is no function; give one that returns the headers");
  let isTold = false;
  const ask = (): [string, string][] => {
    try {
      return read(headers());
    } catch (thrown) {
      const why = thrown instanceof Error ? thrown.message : String(thrown);
      if (!isTold)
        process.emitWarning(`noted: the headers function failed, so the call goes without its headers: ${why}`);
      isTold = true;
      return [];
    }
  };
  return (next) => async (request) => {
    for (const [name, value] of ask()) {
      if (reserved.test(name)) {
        const said = `the headers function gave ${name}, which belongs to the library or to gRPC; leave it out`;
        throw new ConnectError(said, Code.Internal);
      }
      request.header.set(name, value);
    }
    return await next(request);
  };
}

/** Throws if the value is no plain object of headers that can be sent. */
function read(given: unknown): [string, string][] {
  if (Object.prototype.toString.call(given) !== "[object Object]") {
    // Without a handler the rejection of an async function would end the program.
    if (given instanceof Promise) given.catch(() => undefined);
    throw new Error(`it gave ${Object.prototype.toString.call(given)}; it must return a plain object at once`);
  }
  let size = 0;
  return Object.entries(given as object).map(([name, value]: [string, unknown]) => {
    if (!/^[\w.-]+$/.test(name)) throw new Error(`it gave the name ${JSON.stringify(name)}, which no header can have`);
    if (typeof value !== "string" || !/^[\x20-\x7e]*$/.test(value)) {
      throw new Error(`it gave a ${name} that is no text of printable ASCII`);
    }
    if ((size += name.length + value.length) > most) throw new Error(`it gave more than ${most} bytes`);
    return [name.toLowerCase(), value];
  });
}
