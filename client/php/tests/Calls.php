<?php

declare(strict_types=1);

namespace Noted\Tests;

use Noted\Exception\NotedException;

/** What tests of the client share. */
trait Calls
{
    private static function series(): string
    {
        return 'I-' . bin2hex(random_bytes(6));
    }

    /**
     * Runs something that must fail with a NotedException, and returns that.
     *
     * @param class-string<NotedException> $class
     */
    private static function failing(string $class, \Closure $call): NotedException
    {
        try {
            $call();
        } catch (NotedException $e) {
            self::assertSame($class, get_class($e), $e->getMessage());
            return $e;
        }
        self::fail("no $class was thrown");
    }
}
