<?php

declare(strict_types=1);

namespace Noted\Exception;

/** OCCURRED_TOO_LATE: occurred_at is further ahead than clocks may disagree. For a person. */
final class OccurredTooLate extends Undecidable
{
}
