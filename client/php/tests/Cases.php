<?php

declare(strict_types=1);

namespace Noted\Tests;

/** Reads the cases that all languages share; ../paypal/testdata/README.md describes the format. */
final class Cases
{
    private const FOLDER = __DIR__ . '/../../paypal/testdata';

    /** @return iterable<string, array{string, self}> by name: the channel and the case */
    public static function all(): iterable
    {
        foreach (['ipn', 'webhook'] as $channel) {
            $paths = glob(self::FOLDER . "/$channel/*.txt");
            if (count($paths) < 80) {
                throw new \RuntimeException(
                    'found ' . count($paths) . " cases of $channel, want at least 80: is the folder whole?",
                );
            }
            foreach ($paths as $path) {
                yield "$channel/" . basename($path, '.txt') => [$channel, self::read($path)];
            }
        }
    }

    /**
     * @param list<string> $wants
     * @param list<string> $warns
     */
    private function __construct(
        public readonly array $wants,
        public readonly array $warns,
        public readonly string $malformed,
        public readonly string $body,
    ) {
    }

    private static function read(string $path): self
    {
        $parts = explode("\n---\n", file_get_contents($path), 2);
        if (count($parts) !== 2 || !str_ends_with($parts[1], "\n")) {
            throw new \RuntimeException("$path: no --- line, or no newline at the end");
        }
        $values = ['about' => [], 'want' => [], 'warn' => [], 'malformed' => []];
        foreach (explode("\n", $parts[0]) as $line) {
            [$key, $value] = explode(': ', $line, 2) + [1 => ''];
            if (!isset($values[$key])) {
                throw new \RuntimeException("$path: header line \"$line\" is not known");
            }
            $values[$key][] = $value;
        }
        if (
            count($values['about']) !== 1 ||
            count($values['malformed']) > 1 ||
            ($values['want'] === []) === ($values['malformed'] === [])
        ) {
            throw new \RuntimeException("$path: a case has one about, and either want or malformed");
        }
        return new self($values['want'], $values['warn'], $values['malformed'][0] ?? '', substr($parts[1], 0, -1));
    }
}
