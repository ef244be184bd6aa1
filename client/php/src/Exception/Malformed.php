<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * A body that cannot be read, or that names no series. The same bytes fail each time, so
 * do not let PayPal send them again.
 *
 * It is not a NotedException, because no call was made.
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
