<?php

declare(strict_types=1);

namespace Noted;

/**
 * One occurrence of an event in a series: the thing that must be processed once. Only
 * seriesId is required. Each further field makes the decision surer.
 */
final class Donation
{
    /**
     * When it happened, in the JSON form of a protobuf Timestamp, such as
     * "2021-03-08T17:05:01.250Z"; empty when unknown. It is text because PayPal may write
     * more digits than a DateTimeImmutable holds. new
     * \DateTimeImmutable($donation->occurredAt) reads it.
     */
    public readonly string $occurredAt;

    /**
     * @param string $seriesId names the series, such as "I-…"; a one-time donation is a series
     *     of one, named by its transaction id
     * @param Event $event what happened; unspecified means a payment
     * @param string|\DateTimeInterface $occurredAt when it happened, never when it arrived;
     *     empty when unknown
     * @param string $amount a decimal such as "25.00"; comes with $currencyCode or not at all
     * @param string $currencyCode three capital letters, such as "EUR"
     * @param string $transactionId the provider's id of the transaction; empty when unknown
     * @param string $ledger the book that the series belongs to, such as "paypal-live"; may be
     *     empty
     */
    public function __construct(
        public readonly string $seriesId,
        public readonly Event $event = Event::Unspecified,
        string|\DateTimeInterface $occurredAt = '',
        public readonly string $amount = '',
        public readonly string $currencyCode = '',
        public readonly string $transactionId = '',
        public readonly string $ledger = '',
    ) {
        $this->occurredAt = Wire::time($occurredAt);
    }

    /**
     * The same donation in the given ledger: only the receiver knows its ledgers.
     */
    public function inLedger(string $ledger): self
    {
        return new self(
            $this->seriesId,
            $this->event,
            $this->occurredAt,
            $this->amount,
            $this->currencyCode,
            $this->transactionId,
            $ledger,
        );
    }
}
