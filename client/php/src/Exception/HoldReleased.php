<?php

declare(strict_types=1);

namespace Noted\Exception;

/** HOLD_RELEASED: the hold was given up. */
final class HoldReleased extends NoteGone
{
}
