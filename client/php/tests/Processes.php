<?php

declare(strict_types=1);

namespace Noted\Tests;

/** Starts programs that run until the tests end or stop them. */
final class Processes
{
    /** @var array<int, resource> */
    private static array $running = [];

    /**
     * Starts a program whose output goes to a file, and returns its process id.
     *
     * @param list<string> $command
     * @param array<string, string> $environment in addition to ours
     */
    public static function start(array $command, string $log, array $environment = []): int
    {
        $process = proc_open(
            $command,
            [['file', '/dev/null', 'r'], ['file', $log, 'a'], ['file', $log, 'a']],
            $pipes,
            null,
            $environment + getenv(),
        );
        $id = proc_get_status($process)['pid'];
        if (self::$running === []) {
            $owner = getmypid();
            register_shutdown_function(static function () use ($owner): void {
                if (getmypid() === $owner) {
                    array_map(self::stop(...), array_keys(self::$running));
                }
            });
        }
        self::$running[$id] = $process;
        return $id;
    }

    /**
     * Kills a process, also a frozen one, and its children: the workers of PHP's own server
     * would outlive it.
     */
    public static function stop(int $id): void
    {
        if (isset(self::$running[$id])) {
            $children = array_filter(explode(' ', (string) @file_get_contents("/proc/$id/task/$id/children")));
            Program::run(['kill', '-9', (string) $id, ...$children]);
            proc_close(self::$running[$id]);
            unset(self::$running[$id]);
        }
    }

    /**
     * Starts PHP's own server with a router script, and returns its address.
     *
     * @param array<string, string> $environment
     */
    public static function php(string $router, array $environment = []): string
    {
        $address = self::freeAddress();
        $log = Program::folder() . '/' . basename($router) . '.log';
        self::start([PHP_BINARY, '-S', $address, $router], $log, $environment);
        self::waitFor($address, $log);
        return $address;
    }

    /**
     * An address without a listener. Another program could take it before its use, which is
     * rare.
     */
    public static function freeAddress(): string
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        $address = stream_socket_get_name($socket, false);
        fclose($socket);
        return $address;
    }

    public static function waitFor(string $address, string $log): void
    {
        self::until(static function () use ($address): bool {
            $socket = @stream_socket_client("tcp://$address", $code, $message, 1);
            return $socket !== false && fclose($socket);
        }, static fn(): string => "there is no listener on $address: " . file_get_contents($log));
    }

    /**
     * Polls until something is true.
     *
     * @param \Closure(): bool $done
     * @param \Closure(): string $otherwise says what is wrong
     */
    public static function until(\Closure $done, \Closure $otherwise): void
    {
        for ($deadline = microtime(true) + 20; !$done(); usleep(20_000)) {
            if (microtime(true) > $deadline) {
                throw new \RuntimeException($otherwise());
            }
        }
    }
}
