<?php

declare(strict_types=1);

namespace Noted;

/**
 * Noted's memory of a donation. Times are text such as "2021-03-08T17:05:01.250Z", by the
 * store's clock, or empty.
 */
final class Note
{
    /**
     * @param string $donationId Noted's own id of the donation, the same for every message of
     *     it: hand it downstream as the idempotency key
     * @param Donation $donation as its first message told of it
     * @param list<Sighting> $sightings the messages seen for it, the first one first
     * @param string $heldUntil when the hold runs out, or has run out; empty for a settled note
     *     and after a release
     * @param string $forgetAt when the note is forgotten
     * @param int $attempt 1 for the first holder and one more for each takeover: a system
     *     downstream can refuse a late writer by it
     */
    public function __construct(
        public readonly string $donationId,
        public readonly Donation $donation,
        public readonly array $sightings,
        public readonly State $state,
        public readonly string $notedAt,
        public readonly string $heldUntil,
        public readonly string $forgetAt,
        public readonly int $attempt,
    ) {
    }
}
