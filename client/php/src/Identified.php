<?php

declare(strict_types=1);

namespace Noted;

/** The donations that a message tells of: either pairs, or a reason in $skipped. */
final class Identified
{
    /**
     * @param list<Pair> $pairs one per donation, in the order of the message
     * @param string $skipped why the message has no donation, in a fixed sentence
     * @param bool $unknown set with $skipped when the type or the status is not known:
     *     raise an alarm, it may have been a donation
     * @param string $type the txn_type or event_type, safe to be logged
     * @param list<string> $warnings the fields that were left out, each beginning with
     *                               the field's name
     */
    public function __construct(
        public readonly array $pairs = [],
        public readonly string $skipped = '',
        public readonly bool $unknown = false,
        public readonly string $type = '',
        public readonly array $warnings = [],
    ) {
    }

    /**
     * What `noted-identify` prints: a line of JSON for each pair, in the contract's field
     * names, or one line with the reason to skip. Each line ends with a newline. The
     * commands of the other languages print the same bytes.
     */
    public function toLines(): string
    {
        if ($this->skipped !== '') {
            return self::line(['skipped' => $this->skipped]);
        }
        $lines = '';
        foreach ($this->pairs as $pair) {
            $donation = array_filter(
                [
                    'ledger' => $pair->donation->ledger,
                    'series_id' => $pair->donation->seriesId,
                    'event' => $pair->donation->event->value,
                    'occurred_at' => $pair->donation->occurredAt,
                    'amount' => $pair->donation->amount,
                    'currency_code' => $pair->donation->currencyCode,
                    'transaction_id' => $pair->donation->transactionId,
                ],
                self::isGiven(...),
            );
            $message = array_filter(
                ['channel' => $pair->message->channel, 'id' => $pair->message->id],
                self::isGiven(...),
            );
            $lines .= self::line(['donation' => $donation, 'message' => $message]);
        }
        return $lines;
    }

    /** Not array_filter's own test: that drops "0", which is an amount. */
    private static function isGiven(string $value): bool
    {
        return $value !== '';
    }

    /** @param array<string, mixed> $fields */
    private static function line(array $fields): string
    {
        return json_encode(
            $fields,
            JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE | JSON_THROW_ON_ERROR,
        ) . "\n";
    }
}
