/**
 * PayPal writes a time in four ways. IPNs have the two Pacific ones; the second, and the
 * dot behind a month, come from a simulator. JavaScript's comes from the other simulator.
 * Webhooks have ISO 8601. Each is accepted on both channels. A day or an hour may have
 * one digit in all but ISO 8601, and a run of spaces counts as one.
 */

/** A time, and the nanoseconds of it that a Date cannot hold. */
export interface Moment {
  readonly time: Date;
  readonly nanoseconds: number;
}

const clock = String.raw`(?<hour>\d{1,2}):(?<minute>\d\d):(?<second>\d\d)`;
const month = String.raw`(?<month>[A-Za-z]{3,9})\.?`;
const day = String.raw`(?<day>\d{1,2})`;
const year = String.raw`(?<year>\d{4})`;
const spellings = [
  // 09:05:01 Mar 08, 2021 PST
  new RegExp(`^${clock} +${month} +${day},? +${year} +(?<zone>PST|PDT)$`),
  // 09:05:01 8 Mar 2021 PST
  new RegExp(`^${clock} +${day} +${month},? +${year} +(?<zone>PST|PDT)$`),
  // Mon Mar 08 2021 09:05:01 GMT-0800 (PST); the name in brackets is not read
  new RegExp(
    String.raw`^[A-Za-z]{3,9} +${month} +${day},? +${year} +${clock} +GMT(?<zone>[+-]\d\d:?\d\d)(?: +\([^()]*\))?$`,
  ),
  // 2021-03-08T17:05:01.250Z
  new RegExp(
    String.raw`^${year}-(?<month>\d\d)-(?<day>\d\d)T(?<hour>\d\d):(?<minute>\d\d):(?<second>\d\d)` +
      String.raw`(?:\.(?<fraction>\d+))?(?<zone>Z|[+-]\d\d:?\d\d)$`,
  ),
];

const months = "january february march april may june july august september october november december".split(" ");

/**
 * A time in any of the spellings; undefined for any other text.
 *
 * The label PST or PDT means the offset that it names, not Pacific time on that date: in
 * the hour that autumn repeats, only the label tells the two apart. Years run from 1970
 * to 9998, so that a protobuf Timestamp holds the time with any offset. There are no leap
 * seconds; a second 60 is unreadable.
 */
export function parseTime(text: string): Moment | undefined {
  for (const spelling of spellings) {
    const part = spelling.exec(text)?.groups;
    if (part === undefined) continue;
    const number = (name: string): number => Number(part[name]);
    const [years, days, hours, minutes, seconds] = [
      number("year"),
      number("day"),
      number("hour"),
      number("minute"),
      number("second"),
    ];
    const monthOfYear = readMonth(part["month"] ?? "");
    const offset = readOffset(part["zone"] ?? "");
    if (monthOfYear === undefined || offset === undefined || years < 1970 || years > 9998) return undefined;
    if (hours > 23 || minutes > 59 || seconds > 59) return undefined;
    const fraction = ((part["fraction"] ?? "") + "000000000").slice(0, 9);
    const local = new Date(
      Date.UTC(years, monthOfYear - 1, days, hours, minutes, seconds, Number(fraction.slice(0, 3))),
    );
    if (local.getUTCDate() !== days) return undefined; // there is no such day
    return { time: new Date(local.getTime() - offset * 60_000), nanoseconds: Number(fraction.slice(3)) };
  }
  return undefined;
}

/**
 * The month of 01 to 12, or of three or more letters that begin its English name (Sep,
 * Sept, September).
 */
function readMonth(text: string): number | undefined {
  const found = /^\d/.test(text) ? Number(text) : months.findIndex((name) => name.startsWith(text.toLowerCase())) + 1;
  return found >= 1 && found <= 12 ? found : undefined;
}

/**
 * The minutes east of UTC of PST, PDT, Z, -07:00 or -0700; undefined for a day or more.
 */
function readOffset(zone: string): number | undefined {
  if (zone === "PST") return -8 * 60;
  if (zone === "PDT") return -7 * 60;
  if (zone === "Z") return 0;
  const [hours, minutes] = [Number(zone.slice(1, 3)), Number(zone.slice(-2))];
  if (hours > 23 || minutes > 59) return undefined;
  return (zone.startsWith("-") ? -1 : 1) * (hours * 60 + minutes);
}
