<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * Noted cannot decide, and each further try with the same message would end in the same
 * exception. Nothing was noted. Keep the message for a person, and answer PayPal 200;
 * otherwise the donation is lost when PayPal gives up.
 */
class Undecidable extends NotedException
{
}
