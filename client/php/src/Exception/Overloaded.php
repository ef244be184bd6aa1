<?php

declare(strict_types=1);

namespace Noted\Exception;

/** OVERLOADED: the server has too much to do; $retryAfter says when to come back. */
final class Overloaded extends NotedException
{
}
