<?php

declare(strict_types=1);

namespace Noted;

/** The answer to "is this donation mine to process?". The values are the contract's names. */
enum Verdict: string
{
    /** Yes, process it. */
    case First = 'VERDICT_FIRST';
    /** No, it is done or was noted before. */
    case Duplicate = 'VERDICT_DUPLICATE';
    /** Not now, another caller is processing it. */
    case Held = 'VERDICT_HELD';
}
