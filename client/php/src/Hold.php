<?php

declare(strict_types=1);

namespace Noted;

use Noted\Exception\NotedException;

/**
 * The hold under which Client::once() runs its callable: until it runs out, nobody else
 * processes the donation.
 *
 * PHP has no threads, so nothing extends it by itself. Work that may take longer than a
 * third of the hold (60 s by default) calls extend() now and then, such as once per row;
 * work that cannot be interrupted needs a longer hold in the client's settings.
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
     * How many seconds are surely left, by our own clock, which began before the
     * server's. Not above 0: another may be processing the donation.
     */
    public function left(): float
    {
        return $this->until - hrtime(true) / 1e9;
    }

    /**
     * Makes the hold last its full length from now. Cheap to call often: the server is
     * asked only once a third of the hold is gone.
     *
     * @throws NotedException where the hold is lost: HoldLost and the like when another has
     *     taken over, Unavailable and the like when it has run out
     *     because the server could not be asked in time. Stop the work, and let the exception out
     *     of the callable.
     */
    public function extend(): void
    {
        if ($this->left() < ($this->length * 2) / 3) {
            $this->until = ($this->extend)($this->until);
        }
    }
}
