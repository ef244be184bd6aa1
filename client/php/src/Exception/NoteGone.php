<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * The note is not this attempt's any more. If it is the previous of a NotSettled, PayPal's
 * next try would be a duplicate, or double the donation: tell a person, and answer 200.
 */
class NoteGone extends NotedException
{
}
