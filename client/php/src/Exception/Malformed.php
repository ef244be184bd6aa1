<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * A body that cannot be read, or that names no series. The same bytes will never fare
 * better, so asking PayPal for them again is no use.
 *
 * It is no NotedException, since Noted was not asked.
 */
final class Malformed extends \RuntimeException
{
    /**
     * @param string $field the field or fields at fault; "body" for all of it
     * @param string $problem what is wrong, and what to do
     */
    public function __construct(public readonly string $field, public readonly string $problem)
    {
        parent::__construct("$field: $problem");
    }
}
