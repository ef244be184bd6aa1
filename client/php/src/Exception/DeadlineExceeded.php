<?php

declare(strict_types=1);

namespace Noted\Exception;

/** Time was up, here or at the server (DEADLINE_EXCEEDED). Nothing is known of the donation. */
final class DeadlineExceeded extends NotedException
{
}
