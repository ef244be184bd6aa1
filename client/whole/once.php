<?php

// Times once() and an empty call: once.php URL CALLS. It prints their times in seconds, as
// two lists in JSON.

declare(strict_types=1);

require __DIR__ . '/../php/autoload.php';

[, $url, $calls] = $argv;
$times = static function (callable $call) use ($calls): array {
    $taken = [];
    for ($i = 0; $i < $calls; $i++) {
        $began = hrtime(true);
        $call();
        $taken[] = (hrtime(true) - $began) / 1e9;
    }
    return $taken;
};
$curl = curl_init("$url/grpc.health.v1.Health/Check");
curl_setopt_array($curl, [
    CURLOPT_POSTFIELDS => '{}',
    CURLOPT_HTTPHEADER => ['Content-Type: application/json'],
    CURLOPT_RETURNTRANSFER => true,
]);
$client = new Noted\Client($url);
$empty = static function () use ($curl): void {
    $answer = curl_exec($curl);
    if (curl_getinfo($curl, CURLINFO_RESPONSE_CODE) !== 200) {
        throw new RuntimeException("the empty call was answered: $answer");
    }
};
$once = static function () use ($client): void {
    $donation = new Noted\Donation(bin2hex(random_bytes(8)), ledger: 'figures');
    $client->once($donation, null, static fn() => null);
};
echo json_encode([$times($empty), $times($once)]), "\n";
