<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * OUTCOME_UNKNOWN: the donation may have been noted. Only the same request id gets its
 * answer.
 */
final class OutcomeUnknown extends Unavailable
{
}
