<?php

declare(strict_types=1);

namespace Noted;

/**
 * One page of a listing. A page may be short or empty and still not be the last, which
 * has no nextToken.
 */
final class Page
{
    /** @param list<Note> $notes */
    public function __construct(public readonly array $notes, public readonly string $nextToken)
    {
    }
}
