<?php

declare(strict_types=1);

namespace Noted\PayPal;

/**
 * Reads the four spellings in which PayPal writes a time. IPNs have the two Pacific ones;
 * the second, and the dot behind a month, come from a simulator. JavaScript's comes from
 * the other simulator. Webhooks have ISO 8601. Each is accepted on both channels.
 *
 * @internal
 */
final class Time
{
    private const SPELLINGS = [
        // 09:05:01 Mar 08, 2021 PST
        '/^(?<hour>[0-9]{1,2}):(?<minute>[0-9]{2}):(?<second>[0-9]{2}) +' .
        '(?<month>[A-Za-z]{3,9})\.? +(?<day>[0-9]{1,2}),? +(?<year>[0-9]{4}) +(?<zone>PST|PDT)$/D',
        // 09:05:01 8 Mar 2021 PST
        '/^(?<hour>[0-9]{1,2}):(?<minute>[0-9]{2}):(?<second>[0-9]{2}) +' .
        '(?<day>[0-9]{1,2}) +(?<month>[A-Za-z]{3,9})\.?,? +(?<year>[0-9]{4}) +(?<zone>PST|PDT)$/D',
        // Mon Mar 08 2021 09:05:01 GMT-0800 (PST); the name in brackets is not read
        '/^[A-Za-z]{3,9} +(?<month>[A-Za-z]{3,9})\.? +(?<day>[0-9]{1,2}),? +(?<year>[0-9]{4}) +' .
        '(?<hour>[0-9]{1,2}):(?<minute>[0-9]{2}):(?<second>[0-9]{2}) +GMT(?<zone>[+-][0-9]{2}:?[0-9]{2})(?: +\([^()]*\))?$/D',
        // 2021-03-08T17:05:01.250Z
        '/^(?<year>[0-9]{4})-(?<month>[0-9]{2})-(?<day>[0-9]{2})' .
        'T(?<hour>[0-9]{2}):(?<minute>[0-9]{2}):(?<second>[0-9]{2})(?:\.(?<fraction>[0-9]+))?(?<zone>Z|[+-][0-9]{2}:?[0-9]{2})$/D',
    ];

    private const MONTHS = [
        'january',
        'february',
        'march',
        'april',
        'may',
        'june',
        'july',
        'august',
        'september',
        'october',
        'november',
        'december',
    ];

    /**
     * Returns the JSON form of a Timestamp, in UTC with 0, 3, 6 or 9 digits behind the
     * second, or "" if the text is not a time.
     *
     * The label PST or PDT means the offset that it names, not Pacific time on that date:
     * in the hour that autumn repeats, only the label tells the two apart. Years run from
     * 1970 to 9998, so that a Timestamp holds the time with any offset. There are no leap
     * seconds.
     */
    public static function parse(string $text): string
    {
        foreach (self::SPELLINGS as $spelling) {
            if (preg_match($spelling, $text, $found) === 1) {
                return self::build($found);
            }
        }
        return '';
    }

    /** @param array<array-key, string> $found */
    private static function build(array $found): string
    {
        $month = self::month($found['month']);
        $offset = self::offset($found['zone']);
        [$year, $day] = [(int) $found['year'], (int) $found['day']];
        [$hour, $minute, $second] = [(int) $found['hour'], (int) $found['minute'], (int) $found['second']];
        if (
            $month === 0 ||
            $offset === null ||
            $year < 1970 ||
            $year > 9998 ||
            $hour > 23 ||
            $minute > 59 ||
            $second > 59
        ) {
            return '';
        }
        if (!checkdate($month, $day, $year)) {
            return '';
        }
        $unix = gmmktime($hour, $minute, $second, $month, $day, $year);
        return gmdate('Y-m-d\TH:i:s', $unix - $offset) . self::fraction($found['fraction'] ?? '') . 'Z';
    }

    /** The fewest of 0, 3, 6 and 9 digits that hold the fraction; further ones are cut. */
    private static function fraction(string $digits): string
    {
        $digits = rtrim(substr($digits, 0, 9), '0');
        if ($digits === '') {
            return '';
        }
        return '.' . str_pad($digits, (int) (ceil(strlen($digits) / 3) * 3), '0');
    }

    /**
     * Reads 01 to 12, or three or more letters that begin an English month (Sep, Sept,
     * September); 0 for anything else.
     */
    private static function month(string $text): int
    {
        if (preg_match('/^[0-9]+$/D', $text) === 1) {
            // ctype is an extension
            return (int) $text <= 12 ? (int) $text : 0;
        }
        foreach (self::MONTHS as $i => $month) {
            if (str_starts_with($month, Reader::lower($text))) {
                return $i + 1;
            }
        }
        return 0;
    }

    /**
     * The seconds east of UTC of PST, PDT, Z, -07:00 or -0700; null for an offset of a
     * day or more.
     */
    private static function offset(string $zone): ?int
    {
        $named = ['PST' => -8 * 3600, 'PDT' => -7 * 3600, 'Z' => 0];
        if (isset($named[$zone])) {
            return $named[$zone];
        }
        [$hours, $minutes] = [(int) substr($zone, 1, 2), (int) substr($zone, -2)];
        if ($hours > 23 || $minutes > 59) {
            return null;
        }
        return ($zone[0] === '-' ? -1 : 1) * ($hours * 3600 + $minutes * 60);
    }
}
