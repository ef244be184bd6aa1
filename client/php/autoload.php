<?php

declare(strict_types=1);

// For those without Composer: require this file, and every class of Noted\ is found. It
// is the same map as composer.json's.
spl_autoload_register(static function (string $class): void {
    if (!str_starts_with($class, 'Noted\\')) {
        return;
    }
    $file = __DIR__ . '/src/' . strtr(substr($class, strlen('Noted\\')), '\\', '/') . '.php';
    if (is_file($file)) {
        require $file;
    }
});
