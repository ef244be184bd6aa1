<?php

declare(strict_types=1);

namespace Noted;

/** One field of a request that the server refused. */
final class Violation
{
    /**
     * @param string $field its path, such as "donation.amount"
     * @param string $description what is wrong with it
     */
    public function __construct(public readonly string $field, public readonly string $description)
    {
    }
}
