<?php

// Fetches PayPal's certificate as a receiver's process does: php trusted.php HOST CA-FILE
// FOLDER TIMEOUT URL. It prints the outcome and the seconds that it took.

declare(strict_types=1);

require __DIR__ . '/../autoload.php';

[, $host, $caFile, $folder, $timeout, $url] = $argv;
$began = microtime(true);
try {
    (new Noted\Receiver\Certificates([$host], $caFile, $folder, (float) $timeout))->trusted($url, microtime(true));
    $said = 'trusted';
} catch (Noted\Receiver\Refusal $e) {
    $said = "refused with $e->status $e->reason: {$e->getMessage()}";
}
printf("%.1f %s\n", microtime(true) - $began, $said);
