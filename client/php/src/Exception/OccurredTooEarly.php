<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * OCCURRED_TOO_EARLY: occurred_at is older than the notes reach back, so it is unknown
 * whether the donation was noted. For a person.
 */
final class OccurredTooEarly extends Undecidable
{
}
