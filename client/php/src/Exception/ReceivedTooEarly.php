<?php

declare(strict_types=1);

namespace Noted\Exception;

/** RECEIVED_TOO_EARLY: received_at is older than the notes reach back. For a person. */
final class ReceivedTooEarly extends Undecidable
{
}
