<?php

declare(strict_types=1);

namespace Noted;

/** Where a note is in its life. The values are the contract's names. */
enum State: string
{
    /** Every state: only a listing asks for it. */
    case Any = 'STATE_UNSPECIFIED';
    /** A caller is processing the donation. */
    case Held = 'STATE_HELD';
    /** The hold was released or ran out: the next message of the donation is FIRST. */
    case Open = 'STATE_OPEN';
    /** The donation is done. */
    case Settled = 'STATE_SETTLED';
}
