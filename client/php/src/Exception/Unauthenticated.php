<?php

declare(strict_types=1);

namespace Noted\Exception;

/** UNAUTHENTICATED: the token is missing or not known. */
final class Unauthenticated extends NotedException
{
}
