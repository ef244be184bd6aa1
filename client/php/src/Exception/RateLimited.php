<?php

declare(strict_types=1);

namespace Noted\Exception;

/** RATE_LIMITED: the caller asks too often; $retryAfter says when to come back. */
final class RateLimited extends NotedException
{
}
