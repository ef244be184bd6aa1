<?php

declare(strict_types=1);

namespace Noted;

/** The answer to Client::exists(). */
final class Existence
{
    /**
     * @param bool $exists true for a settled note and for a live hold
     * @param ?Note $note what was found, an open one too; null where there is none
     * @param Evidence $evidence the rule that found it; None where there is no note
     */
    public function __construct(
        public readonly bool $exists,
        public readonly ?Note $note,
        public readonly Evidence $evidence,
    ) {
    }
}
