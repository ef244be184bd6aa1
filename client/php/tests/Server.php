<?php

declare(strict_types=1);

namespace Noted\Tests;

use PHPUnit\Framework\Assert;

/**
 * A real server with the embedded store and the JSON door: the program NOTED_PROGRAM, or
 * built from this repository.
 */
final class Server
{
    private static ?self $shared = null;

    private function __construct(
        public readonly int $process,
        public readonly string $address,
        public readonly string $url,
    ) {
    }

    /** The server that most tests share. Each uses its own series and leaves it running. */
    public static function shared(): self
    {
        return self::$shared ??= self::start();
    }

    /**
     * @param string $address of the door; empty for a free one
     * @param array<string, string> $environment in addition to ours
     */
    public static function start(string $address = '', array $environment = []): self
    {
        $program = getenv('NOTED_PROGRAM') ?: Program::go('./server/cmd/noted');
        if ($program === null) {
            Assert::markTestSkipped('go is not installed, so there is no server to test with');
        }
        $address = $address !== '' ? $address : Processes::freeAddress();
        $log = Program::folder() . '/noted.log';
        $process = Processes::start(
            [
                $program,
                '-dev',
                '-listen',
                '127.0.0.1:0',
                '-admin-listen',
                'off',
                '-http-listen',
                $address,
                '-shadow-ledgers',
                'dark',
            ],
            $log,
            $environment,
        );
        Processes::waitFor($address, $log);
        return new self($process, $address, "http://$address");
    }

    public function stop(): void
    {
        Processes::stop($this->process);
    }

    /** Freezes the server, with its connections open, until thaw(). */
    public function freeze(): void
    {
        Program::run(['kill', '-STOP', (string) $this->process]);
        // Threads stop one by one, so the server may answer a moment longer.
        Processes::until(
            fn(): bool => preg_grep(
                '/^.*\) [^Tt] /s',
                array_map('file_get_contents', glob("/proc/$this->process/task/*/stat")),
            ) === [],
            static fn(): string => 'the server does not stop',
        );
    }

    /** Lets the server go on, now or after some seconds. */
    public function thaw(float $after = 0.0): void
    {
        if ($after > 0) {
            Processes::start(['sh', '-c', "sleep $after; kill -CONT $this->process"], '/dev/null');
            return;
        }
        Program::run(['kill', '-CONT', (string) $this->process]);
    }
}
