<?php

declare(strict_types=1);

namespace Noted;

/**
 * The course of once() after noting, for Client and Testing\FakeClient.
 *
 * @internal
 */
final class Course
{
    /**
     * Runs the callable where the verdict is First. Settles when it returns, and releases
     * when it throws.
     *
     * @param \Closure(): Hold $hold makes the hold
     * @param callable(Note, Hold): mixed $process
     * @param \Closure(): mixed $settle
     * @param \Closure(): mixed $release
     */
    public static function run(
        NoteResponse $answer,
        \Closure $hold,
        callable $process,
        \Closure $settle,
        \Closure $release,
    ): Verdict {
        if ($answer->verdict !== Verdict::First) {
            return $answer->verdict;
        }
        $hold = $hold();
        try {
            $process($answer->note, $hold);
        } catch (\Throwable $e) {
            try {
                $release();
            } catch (\Throwable) {
                // The callable's exception says more. The hold runs out by itself.
            }
            throw $e;
        }
        $settle();
        return Verdict::First;
    }
}
