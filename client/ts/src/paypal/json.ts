/**
 * JSON by RFC 8259, with numbers as they are written. JSON.parse would make 25.00 of an
 * amount 25, and lose the digits of a long id.
 */

export class JsonNumber {
  constructor(readonly text: string) {}
}

/** The last of repeated names counts. A Map, so that no name is special. */
export type Json = null | boolean | string | JsonNumber | readonly Json[] | ReadonlyMap<string, Json>;

/**
 * The value of the text; undefined if it is not JSON. The caller bounds how deep it
 * nests.
 */
export function parseJson(text: string): Json | undefined {
  const parser = new Parser(text);
  try {
    const value = parser.value();
    return parser.isAtEnd() ? value : undefined;
  } catch (error) {
    if (error instanceof NoJson) return undefined;
    throw error;
  }
}

class NoJson extends Error {}

const space = /[ \t\r\n]*/y;
const literal = /true|false|null/y;
const number = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
// Each character can be matched in only one way. Otherwise a string without an end would
// take forever.
const string = /"([^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})[^"\\\x00-\x1f]*)*)"/y;
const literals: Readonly<Record<string, Json>> = { true: true, false: false, null: null };
const escapes: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

class Parser {
  private at = 0;

  constructor(private readonly text: string) {}

  isAtEnd(): boolean {
    this.take(space);
    return this.at === this.text.length;
  }

  value(): Json {
    this.take(space);
    switch (this.text[this.at]) {
      case "{":
        return this.object();
      case "[":
        return this.array();
      case '"':
        return this.string();
      default: {
        const word = this.take(literal)?.[0];
        if (word !== undefined) return literals[word] ?? null;
        const written = this.take(number)?.[0];
        if (written === undefined) throw new NoJson();
        return new JsonNumber(written);
      }
    }
  }

  private object(): ReadonlyMap<string, Json> {
    const object = new Map<string, Json>();
    this.list("}", () => {
      this.take(space);
      const name = this.string();
      this.take(space);
      this.expect(":");
      object.set(name, this.value());
    });
    return object;
  }

  private array(): readonly Json[] {
    const array: Json[] = [];
    this.list("]", () => array.push(this.value()));
    return array;
  }

  private list(end: string, element: () => void): void {
    this.at++;
    this.take(space);
    if (this.text[this.at] === end) {
      this.at++;
      return;
    }
    for (;;) {
      element();
      this.take(space);
      if (this.text[this.at] === end) {
        this.at++;
        return;
      }
      this.expect(",");
    }
  }

  private string(): string {
    const written = this.take(string)?.[1];
    if (written === undefined) throw new NoJson();
    return written.replace(/\\(?:u(.{4})|(.))/g, (_, code: string | undefined, letter: string | undefined) =>
      code === undefined ? (escapes[letter ?? ""] ?? letter ?? "") : String.fromCharCode(parseInt(code, 16)),
    );
  }

  private expect(character: string): void {
    if (this.text[this.at] !== character) throw new NoJson();
    this.at++;
  }

  private take(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found !== null) this.at = pattern.lastIndex;
    return found;
  }
}
