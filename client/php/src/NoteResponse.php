<?php

declare(strict_types=1);

namespace Noted;

/** The answer to Client::note(). */
final class NoteResponse
{
    /**
     * @param Evidence $evidence the rule that decided
     * @param string $receipt what settle(), release() and extend() need; only with First and a hold
     * @param ?float $retryAfter how many seconds the present hold lasts; only with Held
     * @param list<string> $differences the fields in which this message and the note disagree;
     *     a different amount is worth an alarm
     * @param ?Verdict $shadowVerdict the true verdict in a ledger in shadow, where $verdict is
     *     First for every message; null in other ledgers
     */
    public function __construct(
        public readonly Verdict $verdict,
        public readonly Note $note,
        public readonly Evidence $evidence,
        public readonly string $receipt,
        public readonly ?float $retryAfter,
        public readonly array $differences,
        public readonly ?Verdict $shadowVerdict = null,
    ) {
    }
}
