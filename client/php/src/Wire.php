<?php

declare(strict_types=1);

namespace Noted;

/**
 * Turns this library's objects into the protobuf JSON form and back. A missing field is
 * empty, as in protobuf.
 *
 * @internal
 */
final class Wire
{
    /** @return array<string, string> */
    public static function donation(Donation $donation): array
    {
        return self::given([
            'ledger' => $donation->ledger,
            'seriesId' => $donation->seriesId,
            'event' => $donation->event === Event::Unspecified ? '' : $donation->event->value,
            'occurredAt' => $donation->occurredAt,
            'amount' => $donation->amount,
            'currencyCode' => $donation->currencyCode,
            'transactionId' => $donation->transactionId,
        ]);
    }

    /** @return ?array<string, string> */
    public static function message(?Message $message): ?array
    {
        return $message === null
            ? null
            : self::given([
                'channel' => $message->channel,
                'id' => $message->id,
                'receivedAt' => $message->receivedAt,
            ]);
    }

    /** A Timestamp, from a caller's time. */
    public static function time(string|\DateTimeInterface $time): string
    {
        if (is_string($time)) {
            return $time;
        }
        $utc = \DateTimeImmutable::createFromInterface($time)->setTimezone(new \DateTimeZone('UTC'));
        return $utc->format('Y-m-d\TH:i:s.u\Z');
    }

    /**
     * Leaves out empty values: null, "" and 0, which protobuf does not tell from missing.
     *
     * @param array<string, mixed> $fields
     * @return array<string, mixed>
     */
    public static function given(array $fields): array
    {
        return array_filter($fields, static fn(mixed $value): bool => $value !== null && $value !== '' && $value !== 0);
    }

    /** A Duration, to the millisecond; null for 0. */
    public static function duration(float $seconds): ?string
    {
        return $seconds == 0 ? null : number_format($seconds, 3, '.', '') . 's';
    }

    /** The seconds of a Duration such as "59.940s"; null for none. */
    public static function seconds(?string $duration): ?float
    {
        return $duration === null ? null : (float) rtrim($duration, 's');
    }

    /** @param array<string, mixed> $note */
    public static function note(array $note): Note
    {
        return new Note(
            $note['donationId'] ?? '',
            self::readDonation($note['donation'] ?? []),
            array_map(self::sighting(...), $note['sightings'] ?? []),
            State::tryFrom((string) ($note['state'] ?? '')) ?? State::Any,
            $note['notedAt'] ?? '',
            $note['heldUntil'] ?? '',
            $note['forgetAt'] ?? '',
            $note['attempt'] ?? 0,
        );
    }

    public static function evidence(mixed $evidence): Evidence
    {
        return Evidence::tryFrom((string) $evidence) ?? Evidence::None; // a rule of a later server
    }

    /** @param array<string, mixed> $donation */
    private static function readDonation(array $donation): Donation
    {
        return new Donation(
            $donation['seriesId'] ?? '',
            Event::tryFrom((string) ($donation['event'] ?? '')) ?? Event::Unspecified,
            $donation['occurredAt'] ?? '',
            $donation['amount'] ?? '',
            $donation['currencyCode'] ?? '',
            $donation['transactionId'] ?? '',
            $donation['ledger'] ?? '',
        );
    }

    /** @param array<string, mixed> $sighting */
    private static function sighting(array $sighting): Sighting
    {
        $told = $sighting['message'] ?? [];
        $message = new Message($told['channel'] ?? '', $told['id'] ?? '', $told['receivedAt'] ?? '');
        return new Sighting($message, $sighting['transactionId'] ?? '', $sighting['seenAt'] ?? '');
    }
}
