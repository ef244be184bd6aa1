<?php

// Serves one file over https: php tls.php ADDRESS CERTIFICATE-AND-KEY FILE COUNTER.

declare(strict_types=1);

[, $address, $pem, $file, $counter] = $argv;
$door = stream_socket_server(
    "tls://$address",
    $code,
    $message,
    STREAM_SERVER_BIND | STREAM_SERVER_LISTEN,
    stream_context_create(['ssl' => ['local_cert' => $pem]]),
);
while (true) {
    $caller = @stream_socket_accept($door, -1);
    if ($caller === false) {
        continue; // the handshake failed
    }
    $request = fread($caller, 8192);
    file_put_contents($counter, strtok($request, "\r\n") . "\n", FILE_APPEND);
    $body = (string) file_get_contents($file);
    $status = $body === '' ? '500 Sorry' : '200 OK';
    fwrite($caller, "HTTP/1.1 $status\r\nContent-Length: " . strlen($body) . "\r\nConnection: close\r\n\r\n$body");
    fclose($caller);
}
