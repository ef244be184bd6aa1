<?php

declare(strict_types=1);

namespace Noted\Tests;

/** Runs other programs for the tests. */
final class Program
{
    private const REPOSITORY = __DIR__ . '/../../..';

    /** @var array<string, string> package => its built program */
    private static array $built = [];

    /**
     * Builds a command of this repository, once for a run, and returns its path; null if Go
     * is not installed.
     */
    public static function go(string $package): ?string
    {
        if (isset(self::$built[$package])) {
            return self::$built[$package];
        }
        if (self::run(['sh', '-c', 'command -v go'])[0] !== 0) {
            return null;
        }
        $path = self::folder() . '/' . basename($package);
        [$code, , $stderr] = self::run(['go', 'build', '-C', self::REPOSITORY, '-o', $path, $package]);
        if ($code !== 0) {
            throw new \RuntimeException("building $package: $stderr");
        }
        return self::$built[$package] = $path;
    }

    /** A folder that is removed when the tests end. */
    public static function folder(): string
    {
        static $folder = null;
        if ($folder === null) {
            $folder = sys_get_temp_dir() . '/noted-php-' . bin2hex(random_bytes(6));
            mkdir($folder, 0700);
            $owner = getmypid();
            register_shutdown_function(static function () use ($folder, $owner): void {
                if (getmypid() === $owner) {
                    self::run(['rm', '-rf', $folder]);
                }
            });
        }
        return $folder;
    }

    /** @return array<string, string> for Composer without the network and without this user's settings */
    public static function composerEnvironment(): array
    {
        return [
            'COMPOSER_HOME' => self::folder() . '/composer',
            'COMPOSER_DISABLE_NETWORK' => '1',
            'COMPOSER_ALLOW_SUPERUSER' => '1',
            'COMPOSER_NO_INTERACTION' => '1',
        ];
    }

    /** The package's archive, made once for a run. */
    public static function archive(): string
    {
        static $archive = null;
        if ($archive === null) {
            self::composer(dirname(__DIR__), 'archive', '--format=tar', '--file=noted', '--dir=' . self::folder());
            $archive = self::folder() . '/noted.tar';
        }
        return $archive;
    }

    /** Runs Composer in a folder, without the network and without this user's settings. */
    public static function composer(string $folder, string ...$arguments): void
    {
        [$code, $out, $said] = self::run(
            ['composer', "--working-dir=$folder", '--no-interaction', ...$arguments],
            environment: self::composerEnvironment(),
        );
        if ($code !== 0) {
            throw new \RuntimeException('composer ' . implode(' ', $arguments) . " in $folder: $out$said");
        }
    }

    /**
     * @param list<string> $command
     * @param array<string, string> $environment in addition to ours
     * @return array{int, string, string} exit code, standard output, standard error
     */
    public static function run(array $command, string $input = '', array $environment = []): array
    {
        // Files instead of pipes: two programs that wait for each other's full pipe would hang.
        $files = array_map(static fn(): mixed => tmpfile(), [0, 1, 2]);
        fwrite($files[0], $input);
        rewind($files[0]);
        $process = proc_open($command, $files, $pipes, null, $environment + getenv());
        $code = proc_close($process);
        rewind($files[1]);
        rewind($files[2]);
        return [$code, stream_get_contents($files[1]), stream_get_contents($files[2])];
    }
}
