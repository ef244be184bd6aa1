<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * Another try may cure it: the server cannot be reached, or says UNAVAILABLE for any
 * reason. It never means "not a duplicate".
 */
class Unavailable extends NotedException
{
}
