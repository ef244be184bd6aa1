<?php

declare(strict_types=1);

namespace Noted\PayPal;

/**
 * Reads the fields of one message by the rules that both channels share, and collects the
 * warnings.
 *
 * @internal
 */
final class Reader
{
    /** The contract's limit of an id, in bytes. */
    private const MAX_ID = 128;

    /**
     * @var array<string, string> a field's name and what is wrong with it; a field warns
     *     once, so that all languages count the same
     */
    private array $warnings = [];

    /**
     * @param \Closure(string): array{string, string} $lookup returns a field's text as it is
     *     written, and a problem if the value is not text
     */
    public function __construct(private readonly \Closure $lookup)
    {
    }

    public function warn(string $field, string $problem): void
    {
        $this->warnings[$field] ??= $problem;
    }

    /** @return list<string> */
    public function warnings(): array
    {
        $lines = [];
        foreach ($this->warnings as $field => $problem) {
            $lines[] = "$field: $problem";
        }
        return $lines;
    }

    /** A field without the spaces around it, or "" if it is absent or not text. */
    public function text(string $field): string
    {
        [$text, $problem] = ($this->lookup)($field);
        if ($problem !== '') {
            $this->warn($field, "$problem; taken as absent");
            return '';
        }
        return trim($text, ' ');
    }

    /** A field that the contract takes as an id, or "". */
    public function id(string $field): string
    {
        $text = $this->text($field);
        if ($text !== '' && !self::fits($text)) {
            $problem = 'is not an id: more than ' . self::MAX_ID . ' bytes, or bytes that are not printable ASCII';
            $this->warn($field, "$problem; taken as absent");
            return '';
        }
        return $text;
    }

    /**
     * A field that can name a series, or "". An id that begins with B- names a means of
     * payment.
     */
    public function seriesId(string $field): string
    {
        $id = $this->id($field);
        return str_starts_with($id, 'B-') ? '' : $id;
    }

    /**
     * The first of the fields that is an id, or "". It does not read the fields behind
     * it.
     */
    public function firstId(string ...$fields): string
    {
        foreach ($fields as $field) {
            $id = $this->id($field);
            if ($id !== '') {
                return $id;
            }
        }
        return '';
    }

    /** A field as a time in the JSON form of a Timestamp, "" if it is absent or cannot be read. */
    public function time(string $field): string
    {
        $text = $this->text($field);
        if ($text === '') {
            return '';
        }
        $time = Time::parse($text);
        if ($time === '') {
            $this->warn($field, 'is not a time in a known format; left out');
        }
        return $time;
    }

    /**
     * An amount without its sign, and its currency: both or neither, because Noted can
     * compare neither alone.
     *
     * @return array{string, string}
     */
    public function money(string $amountField, string $currencyField): array
    {
        $amount = $this->text($amountField);
        if ($amount === '') {
            return ['', ''];
        }
        if ($amount[0] === '-' || $amount[0] === '+') {
            $amount = substr($amount, 1);
        }
        if (preg_match('/^[0-9]{1,15}(\.[0-9]{1,8})?$/D', $amount) !== 1) {
            $this->warn($amountField, 'is no plain decimal number; left out, and the currency with it');
            return ['', ''];
        }
        $currency = $this->text($currencyField);
        if (preg_match('/^[A-Z]{3}$/D', $currency) !== 1) {
            $this->warn($currencyField, 'is not three capital letters; left out, and the amount with it');
            return ['', ''];
        }
        return [$amount, $currency];
    }

    /** Says whether the contract takes the text as an id. */
    public static function fits(string $text): bool
    {
        return preg_match('/^[\x21-\x7e]{1,' . self::MAX_ID . '}$/D', $text) === 1;
    }

    /**
     * Makes text of a message harmless in a log line and in a skip reason: the same bytes
     * in every language, without an escape.
     */
    public static function sanitised(string $text): string
    {
        return substr((string) preg_replace('/[^\x20-\x7e]|["\\\\]/', '?', $text), 0, 64);
    }

    /** strtolower for A to Z alone: before PHP 8.2 strtolower depended on the locale. */
    public static function lower(string $text): string
    {
        return strtr($text, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz');
    }
}
