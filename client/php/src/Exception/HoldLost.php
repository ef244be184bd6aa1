<?php

declare(strict_types=1);

namespace Noted\Exception;

/** HOLD_LOST: another attempt has taken over, and may be processing the donation now. */
final class HoldLost extends NotedException
{
}
