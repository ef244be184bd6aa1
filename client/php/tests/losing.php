<?php

// A relay that loses the first answers: php losing.php LISTEN UPSTREAM HOW-MANY. The request
// reaches the server, and the client's connection ends without the answer.

declare(strict_types=1);

[, $listen, $upstream, $lose] = $argv;
$door = stream_socket_server("tcp://$listen");
for ($lost = 0;;) {
    $caller = stream_socket_accept($door, -1);
    $server = stream_socket_client("tcp://$upstream");
    while (true) {
        $ready = [$caller, $server];
        $none = [];
        stream_select($ready, $none, $none, null);
        foreach ($ready as $from) {
            $bytes = fread($from, 65536);
            if ($bytes === '' || $bytes === false || ($from === $server && $lost++ < (int) $lose)) {
                fclose($caller);
                fclose($server);
                continue 3;
            }
            fwrite($from === $caller ? $server : $caller, $bytes);
        }
    }
}
