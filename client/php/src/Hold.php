<?php

declare(strict_types=1);

namespace Noted;

use Noted\Exception\NotedException;

/**
 * The hold under which Client::once() runs its callable: until it runs out, no other
 * caller processes the donation.
 *
 * PHP has no threads, so the library cannot extend it in the background. Work that may
 * take longer than a third of the hold (60 s by default) calls extend() now and then,
 * such as once for each row. Work that cannot do so needs a longer hold in the client's
 * settings.
 */
final class Hold
{
    /**
     * @internal
     * @param \Closure(float): float $extend asks the server, and returns until when the hold
     *     lasts then
     */
    public function __construct(
        private readonly \Closure $extend,
        private readonly float $length,
        private float $until,
    ) {
    }

    /**
     * How many seconds are surely left. The hold began earlier by our clock than by the
     * server's. At 0 or below, another caller may be processing the donation.
     */
    public function left(): float
    {
        return $this->until - Retry::now();
    }

    /**
     * Makes the hold last its full length from now. Cheap to call often: it asks the
     * server only when a third of the hold is gone.
     *
     * @throws NotedException if the hold is lost: HoldLost and its like when another
     *     attempt has taken over, Unavailable and its like when the hold has run out
     *     because the server could not be asked in time. Stop the work, and let the
     *     exception out of the callable.
     */
    public function extend(): void
    {
        if ($this->left() < ($this->length * 2) / 3) {
            $this->until = ($this->extend)($this->until);
        }
    }
}
